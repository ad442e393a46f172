package cache

import "github.com/selvage-edge/selvage"

// tried is a purge of all of a service that is tried on some of its paths first.
type tried struct {
	at    stamp
	takes func(path string) bool
}

// of is the trial's stamp for a key, none where the key does not take part.
func (t *tried) of(key *Key) stamp {
	if t == nil || !t.takes(key.Path) {
		return stamp{}
	}
	return t.at
}

// TryPurge purges, hard, those answers of a service whose paths takes names, escaped
// as in a key, and that were requested before a position: one that it has
// returned, or 0 for now. The next call replaces which these are: a step forward
// takes more, and what is not taken any more and is still there is used again. A
// nil takes ends the trial. takes is called by many goroutines, under a lock.
func (s *Store) TryPurge(tenant selvage.Tenant, service selvage.ServiceName, since uint64, takes func(path string) bool) (position uint64) {
	l := s.purges.ledger(tenant, service)
	s.purges.write(l, func(now uint64) {
		if position = since; position == 0 {
			position = now
		}
		if l.trial = nil; takes != nil {
			l.trial = &tried{stamp{hard: position}, takes}
		}
	})
	return position
}

// PurgeSince ends a trial with all of it: what was requested before the position that
// [Store.TryPurge] returned is gone. 0 is now.
func (s *Store) PurgeSince(tenant selvage.Tenant, service selvage.ServiceName, since uint64) {
	l := s.purges.ledger(tenant, service)
	s.purges.write(l, func(now uint64) {
		if since == 0 {
			since = now
		}
		l.trial = nil
		l.all.join(stamp{hard: since})
	})
}
