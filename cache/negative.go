package cache

import (
	"time"

	"github.com/selvage-edge/selvage"
)

// statusTTL is the lifetimes that a policy gives to answers of one status or class
// which do not say theirs (RFC 9111, section 4.2.2). The status itself comes before its class.
type statusTTL struct {
	exact map[int]time.Duration
	class map[int]time.Duration // by the first digit
}

func newStatusTTL(policy map[string]selvage.Duration) (t statusTTL) {
	if len(policy) == 0 {
		return t
	}
	t = statusTTL{make(map[int]time.Duration), make(map[int]time.Duration)}
	for name, d := range policy {
		from, to, ok := selvage.StatusClass(name)
		switch {
		case !ok: // validation does not let it through
		case from == to:
			t.exact[from] = cap68(d.Std())
		default:
			t.class[from/100] = cap68(d.Std())
		}
	}
	return t
}

// of is the lifetime for a status; ok says whether the policy has one.
func (t *statusTTL) of(status int) (lifetime time.Duration, ok bool) {
	if lifetime, ok = t.exact[status]; !ok {
		lifetime, ok = t.class[status/100]
	}
	return lifetime, ok
}
