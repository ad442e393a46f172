package judge

import "time"

// Schedule says which share comes next: start tiny, spread fast. The gates are
// the panel's; when to step, and what a step does, is the rollout's.
type Schedule struct {
	First float64 // the first share, from [FirstShare]
	POPs  int     // how many there are; 1 if zero
}

// Position is where a rollout stands: a share of the units in so many POPs.
type Position struct {
	Share float64
	POPs  int
}

// The schedule's constants.
const (
	UndoTime   = 600 * time.Millisecond // from a bad to its end everywhere, as simulated with reports every 100 ms
	StepEvery  = 5 * time.Second        // at the earliest
	QuietAfter = 2 * time.Minute        // a gate predicted to need longer makes the rollout quiet: 50/50, then promoted and watched
	HoldBack   = 0.05                   // stays on the baseline as control
	HoldFor    = 30 * time.Minute
)

// FirstShare is clamp(2/(rate·undo), 0.05 %, 10 %): the canary of the first POP
// makes about two requests in the time an undo takes.
func FirstShare(rate float64, undo time.Duration) float64 {
	made := rate * undo.Seconds()
	if !(made > 0) {
		return 0.10
	}
	return min(max(2/made, 0.0005), 0.10)
}

// Start is the first position.
func (s Schedule) Start() Position { return Position{s.First, 1} }

// Exposure is the position's share of the units of all POPs: what a gate goes by.
func (s Schedule) Exposure(p Position) float64 {
	return p.Share * float64(p.POPs) / float64(max(s.POPs, 1))
}

// Next is the position after p: double, at 2 % two more POPs, at 10 % all, to
// 50 % and then all but the control. done says that p is the last.
func (s Schedule) Next(p Position) (next Position, done bool) {
	all := max(s.POPs, 1)
	switch {
	case p.Share >= 0.02 && p.POPs < min(3, all):
		return Position{p.Share, min(3, all)}, false
	case p.Share >= 0.10 && p.POPs < all:
		return Position{p.Share, all}, false
	case p.Share >= 1-HoldBack:
		return p, true
	case p.Share >= 0.50:
		return Position{1 - HoldBack, p.POPs}, false
	}
	double := 2 * p.Share
	if double > 0.45 {
		double = 0.50 // no step of its own for the last bit
	}
	return Position{double, p.POPs}, false
}

// Back is the position before p, at least the first.
func (s Schedule) Back(p Position) Position {
	at := s.Start()
	for {
		next, done := s.Next(at)
		if done || next == p || next.Share > p.Share || next.POPs > p.POPs {
			return at
		}
		at = next
	}
}

// Quiet says that a gate that needs so many canary makings, at so many a
// second, would take longer than [QuietAfter].
func Quiet(more int64, rate float64) bool {
	return more < 0 || float64(more) > rate*QuietAfter.Seconds()
}
