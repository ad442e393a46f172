package node

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/compute/abi/httpwasm"
	"github.com/selvage-edge/selvage/compute/abi/wasi"
)

// Checks are functions whose modules were looked into, for a node that is to
// compile them: it does not look through them again. The zero value has none. It
// is safe for concurrent use.
type Checks struct {
	// Bytes bounds what is kept of modules. One that has no room is looked through
	// again when it is compiled: the limit function_checks. Default 256 MiB.
	Bytes int64

	mu   sync.Mutex                  // guards all below
	good map[string]*compute.Checked // by the module's digest, until the node compiled it or begins to serve without
	kept int64                       // bytes
	left int                         // how many had no room
}

// checksBytes is the default of [Checks.Bytes].
const checksBytes = 256 << 20

// Function says what is wrong with the module of a function without compiling
// it, and in notes what it imports that is not here.
func (c *Checks) Function(f *selvage.Function, module []byte) (notes []string, err error) {
	kind, err := kindOf(f, module)
	if err != nil {
		return nil, err
	}
	p := compute.Program{Limits: limitsOf(f)}
	switch kind {
	case "fastly":
		p.ABI = fastly.New(fastly.Options{})
	case "http-wasm":
		p.ABI = httpwasm.New(httpwasm.Options{})
	default:
		p.ABI = wasi.New(wasi.Options{})
	}
	checked, err := compute.Check(module, p)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(checked.Unsupported)) {
		notes = append(notes, fmt.Sprintf("it imports %s, which is not here: a call answers %d (unsupported)", name, checked.Unsupported[name]))
	}
	sum := checked.Digest()
	c.keep(hex.EncodeToString(sum[:]), checked)
	return notes, nil
}

// keep keeps what was found of a module, in the place of what was found earlier.
func (c *Checks) keep(digest string, checked *compute.Checked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.good[digest]; before != nil {
		c.kept -= before.Size()
		delete(c.good, digest)
	}
	if c.kept+checked.Size() > cmp.Or(c.Bytes, checksBytes) {
		c.left++
		return
	}
	if c.good == nil {
		c.good = make(map[string]*compute.Checked)
	}
	c.good[digest] = checked
	c.kept += checked.Size()
}

// take is what was found of a module, for the one who compiles it. Nil: nothing.
func (c *Checks) take(digest string) *compute.Checked {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.good[digest]
}

// forget forgets all: what is to be compiled is. left is how many modules had had no room.
func (c *Checks) forget() (left int) {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	left = c.left
	c.good, c.kept, c.left = nil, 0, 0
	return left
}
