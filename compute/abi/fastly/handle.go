package fastly

// handles are what a guest was given of one request: messages, bodies, pending
// requests, stores. Numbers begin with 1, count up and are not used again, so
// that a handle given back is bad for good. All kinds share them, because
// async_io.select takes handles of every kind.
type handles struct {
	items []any
	live  int
}

const (
	// maxHandles is how many a guest may hold at once.
	maxHandles = 4096
	// maxHandlesMade is how many a guest may get for one request in all.
	maxHandlesMade = 1 << 18
)

// add gives a handle out.
func (h *handles) add(item any) (uint32, Status) {
	if h.live >= maxHandles || len(h.items) >= maxHandlesMade {
		return invalidHandle, LimitExceeded
	}
	h.items = append(h.items, item)
	h.live++
	return uint32(len(h.items)), OK
}

// drop takes a handle back.
func (h *handles) drop(n uint32) {
	if i := int(n) - 1; i >= 0 && i < len(h.items) && h.items[i] != nil {
		h.items[i] = nil
		h.live--
	}
}

// set changes what a handle stands for.
func (h *handles) set(n uint32, item any) {
	if i := int(n) - 1; i >= 0 && i < len(h.items) && h.items[i] != nil {
		h.items[i] = item
	}
}

// item is what a handle stands for; nil if it is bad.
func (h *handles) item(n uint32) any {
	if i := int(n) - 1; i >= 0 && i < len(h.items) {
		return h.items[i]
	}
	return nil
}

// handle is what the handle in parameter i stands for, if it is a T.
func handle[T any](c *call, i int) (T, bool) {
	v, ok := c.x.handles.item(c.u32(i)).(T)
	return v, ok
}

// opened names something of the service that a guest may keep open from one
// request to the next: nothing closes it, so that it is given out once.
type opened struct{ kind, name string }

// giveOpened gives the handle of something of the service, the same each time. Its
// address is in parameter 2 of all calls that open something by its name.
func (c *call) giveOpened(what opened, item any) Status {
	const i = 2
	if n, ok := c.x.opened[what]; ok {
		c.put32(i, n)
		return OK
	}
	c.at(c.u32(i), 4)
	if c.bad {
		return Invalid
	}
	n := uint32(len(c.x.handles.items) + 1)
	status := c.give(i, item)
	if status == OK {
		if c.x.opened == nil {
			c.x.opened = make(map[opened]uint32)
		}
		c.x.opened[what] = n
	}
	return status
}

// give gives a handle out and writes it to the address in parameter i.
func (c *call) give(i int, item any) Status {
	c.at(c.u32(i), 4)
	if c.bad {
		return Invalid
	}
	n, status := c.x.handles.add(item)
	if status == LimitExceeded {
		c.mem.Hit(LimitHandles)
	}
	c.put32(i, n)
	return status
}
