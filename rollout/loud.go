package rollout

import "time"

// loud is the client whom most bads come from, where one client is most of them.
// What it meets alone is its own trouble, or its will: it must not move the level by
// which harm of both arms is known, which no other rule of one client bounds. Where
// there is hardly anybody else, as behind a proxy that nobody declared, it is everybody.
type loud struct {
	client uint64
	votes  int      // the count of a majority vote over bads (Boyer and Moore)
	bads   int64    // since it is this one: all …
	own    int64    // … and its own
	made   [2]int64 // of the others, in the window before and in this one
	window int64
}

// What makes the others somebody.
const (
	loudWindow = 10 // seconds
	loudOthers = 20 // makings in one or two windows
)

// leaves says, of a making that ended, whether the level is to leave it out.
func (l *loud) leaves(now time.Time, client uint64, bad bool) bool {
	switch w := now.Unix() / loudWindow; w {
	case l.window:
	case l.window + 1:
		l.made, l.window = [2]int64{l.made[1], 0}, w
	default:
		l.made, l.window = [2]int64{}, w
	}
	if bad {
		l.vote(client)
	}
	if l.votes == 0 || client != l.client {
		l.made[1]++
		return false
	}
	return 2*l.own > l.bads && l.made[0]+l.made[1] >= loudOthers
}

// vote counts a client's bad.
func (l *loud) vote(client uint64) {
	switch {
	case l.votes > 0 && client == l.client:
		l.votes++
		l.own++
	case l.votes > 0:
		l.votes--
	default:
		l.client, l.votes, l.bads, l.own = client, 1, 0, 1
	}
	l.bads++
}
