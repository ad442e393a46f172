package fastly

import "unicode/utf8"

// Values is a config store, a dictionary or a secret store: values by their keys. Safe for concurrent use.
type Values interface {
	// Value is the value of a key; false if there is none.
	Value(key string) (string, bool)
}

// Map is a store that does not change.
type Map map[string]string

// Value is the value of a key.
func (m Map) Value(key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

// maxKey is the longest name of a store and key of a value, in characters.
const maxKey = 256

func tooLong(name string) bool { return utf8.RuneCountInString(name) > maxKey }

// config is an open config store or dictionary, secrets an open secret store.
type (
	config  struct{ Values }
	secrets struct{ Values }
)

// unopened are the statuses of a store of a kind that cannot be opened, which
// libraries make their messages of.
type unopened struct {
	kind                       string
	nameless, tooLong, unknown Status
}

// storeOpen opens a store of a kind, whose handle stands for what open makes of it.
func storeOpen(of func(*Options) func(string) (Values, bool), fails unopened, open func(Values) any) func(*call) Status {
	return func(c *call) Status {
		name := c.short(0, maxHeaderBytes)
		switch {
		case c.bad:
			return Invalid
		case name == "":
			return fails.nameless
		case tooLong(name):
			return fails.tooLong
		}
		stores := of(&c.x.abi.options)
		if stores == nil {
			return fails.unknown
		}
		store, ok := stores(name)
		if !ok {
			return fails.unknown
		}
		return c.giveOpened(opened{fails.kind, name}, open(store))
	}
}

// configOpen opens a config store; there is no way to tell from the older dictionaries.
var configOpen = storeOpen(func(o *Options) func(string) (Values, bool) { return o.Configs },
	unopened{"config", None, Unsupported, BadHandle}, func(v Values) any { return &config{v} })

var secretsOpen = storeOpen(func(o *Options) func(string) (Values, bool) { return o.Secrets },
	unopened{"secrets", None, None, None}, func(v Values) any { return &secrets{v} })

func configGet(c *call) Status {
	store, ok := handle[*config](c, 0)
	if !ok {
		return BadHandle
	}
	key := c.short(1, maxHeaderBytes)
	if c.bad || tooLong(key) {
		return Invalid
	}
	v, ok := store.Value(key)
	if !ok {
		return None
	}
	return answer(c, 3, v)
}

// secret is one secret, of a store or of the guest's own.
type secret struct{ value string }

// maxSecret is the longest secret, in bytes.
const maxSecret = 64 << 10

func secretsGet(c *call) Status {
	store, ok := handle[*secrets](c, 0)
	if !ok {
		return BadHandle
	}
	key := c.short(1, maxHeaderBytes)
	if c.bad {
		return Invalid
	}
	v, ok := store.Value(key)
	if !ok {
		return None
	}
	return c.give(3, &secret{v})
}

func secretPlaintext(c *call) Status {
	s, ok := handle[*secret](c, 0)
	if !ok {
		return BadHandle
	}
	return answer(c, 1, s.value)
}

func secretFromBytes(c *call) Status {
	if c.u32(1) > maxSecret {
		return LimitExceeded
	}
	v := string(c.bytes(0))
	if c.bad {
		return Invalid
	}
	if !c.keep(len(v)) {
		return LimitExceeded
	}
	return c.give(2, &secret{v})
}
