package compute

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage/compute/wasm"
)

// TrapKind says why a guest was ended.
type TrapKind string

// The kinds of traps.
const (
	Unreachable      TrapKind = "unreachable"
	OutOfBounds      TrapKind = "out-of-bounds memory access"
	TableBounds      TrapKind = "out-of-bounds table access"
	SignatureChanged TrapKind = "indirect call of another type"
	DivideByZero     TrapKind = "division by zero"
	IntegerOverflow  TrapKind = "integer overflow"
	BadConversion    TrapKind = "conversion of no number"
	StackOverflow    TrapKind = "stack overflow"
	Exit             TrapKind = "exit" // with a code other than 0
	BadCall          TrapKind = "wrong call of a host function"
	HostPanic        TrapKind = "panic in a host function"
	Interrupted      TrapKind = "interrupted" // by a limit, or because the request was cut
	OtherTrap        TrapKind = "trap"
)

// Frame is one function of a guest's stack.
type Frame struct {
	Index uint32 // in the module as it was given to Compile
	// Name is from the module's name section, else the first 16 hexadecimal
	// digits of a hash of the function's instructions.
	Name string
}

// Trap says that a guest was ended where it stood.
type Trap struct {
	Kind  TrapKind
	Text  string // more than the kind, where there is more
	Code  uint32 // of an exit
	Stack []Frame
	cause error
}

func (t *Trap) Error() string {
	var b strings.Builder
	b.WriteString(string(t.Kind))
	if t.Text != "" {
		b.WriteString(": " + t.Text)
	}
	if own := t.own(); len(own) > 0 {
		fmt.Fprintf(&b, ", in %s", own[0].Name)
	}
	return b.String()
}

// Unwrap is what ended the guest, if that was an error: the context's, for instance.
func (t *Trap) Unwrap() error { return t.cause }

// StackText is the stack for people, the innermost function first.
func (t *Trap) StackText() string {
	var b strings.Builder
	for _, f := range t.Stack {
		fmt.Fprintf(&b, "\t%s\n", f.Name)
	}
	return b.String()
}

// own is the stack without the functions of Go's runtime at its top, through
// which each panic of a Go program goes: they tell no defect from another.
func (t *Trap) own() []Frame {
	i := slices.IndexFunc(t.Stack, func(f Frame) bool { return !strings.HasPrefix(f.Name, "runtime.") })
	return t.Stack[max(i, 0):]
}

// fingerprintFrames is how many frames tell one defect from another.
const fingerprintFrames = 3

// Fingerprint is the same for the same defect in every build of a program:
// its kind and the names, or the body hashes, of the three innermost
// functions, those of Go's runtime left out. The module is not in it, or every old defect would look new in
// every new module. 16 hexadecimal digits.
func (t *Trap) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", t.Kind)
	own := t.own()
	for _, f := range own[:min(len(own), fingerprintFrames)] {
		fmt.Fprintf(h, "%s\n", f.Name)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// judge says what an error of the engine means.
func (b *sandbox) judge(err error) error {
	if err == nil || endedWell(err) {
		return nil
	}
	if failed, ok := errors.AsType[*Failed](err); ok {
		return failed
	}
	t := b.f.trapOf(err)
	if limit, ok := errors.AsType[*LimitError](t.cause); ok && b.cut == nil {
		b.cut = limit // a host function's, or a handler's own
	}
	if b.cut != nil {
		t.cause = nil // it is the limit: each in the other's chain would be a chain without an end
		b.cut.Trap = t
		return b.cut
	}
	if b.memory != nil && b.memory.refused {
		// What else becomes of a program that gets no more memory.
		b.guest.hit(LimitMemory)
		e := limitErrorf(LimitMemory, "the function wanted more than %d MiB", b.guest.limits.Memory>>20)
		e.Trap = t
		return e
	}
	if t.Kind == StackOverflow {
		b.guest.hit(LimitStack)
	}
	return t
}

// endedWell says that a program exited with 0.
func endedWell(err error) bool {
	e, ok := errors.AsType[exited](err)
	return ok && e == 0
}

// trapTexts are how the engine calls what happened.
var trapTexts = map[string]TrapKind{
	"unreachable":                   Unreachable,
	"out of bounds memory access":   OutOfBounds,
	"invalid table access":          TableBounds,
	"indirect call type mismatch":   SignatureChanged,
	"integer divide by zero":        DivideByZero,
	"integer overflow":              IntegerOverflow,
	"invalid conversion to integer": BadConversion,
	"stack overflow":                StackOverflow,
}

// trapOf makes a trap of an error. The engine gives kind and stack as text.
func (f *Function) trapOf(err error) *Trap {
	what, stack, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	t := &Trap{Kind: OtherTrap, Stack: f.frames(stack), cause: err}
	if own, ok := err.(*Trap); ok { //nolint:errorlint // the trap itself, not what has one in its chain
		return own
	}
	if e, ok := errors.AsType[abort](err); ok {
		t.Kind, t.Text, t.cause = Interrupted, e.Error(), e.err
		if _, ok := errors.AsType[badCall](e.err); ok {
			t.Kind = BadCall
		}
		return t
	}
	if e, ok := errors.AsType[exited](err); ok {
		t.Kind, t.Code, t.Text = Exit, uint32(e), "code "+strconv.Itoa(int(e))
		return t
	}
	name, isTrap := strings.CutPrefix(what, "wasm error: ")
	if kind, ok := trapTexts[name]; ok && (isTrap || kind == StackOverflow) {
		t.Kind = kind
		return t
	}
	if text, ok := strings.CutSuffix(what, " (recovered by wazero)"); ok {
		t.Kind, t.Text = HostPanic, text
		return t
	}
	t.Text = what
	return t
}

// frames reads the engine's stack. The guest's functions are called by their
// numbers there.
func (f *Function) frames(text string) []Frame {
	var out []Frame
	for line := range strings.SplitSeq(text, "\n") {
		name, _, ok := strings.Cut(strings.TrimSpace(line), "(")
		if !ok {
			if line == "" {
				break // what follows is a stack of ours
			}
			continue
		}
		if index, err := strconv.ParseUint(strings.TrimPrefix(name, "."), 10, 32); err == nil {
			out = append(out, Frame{uint32(index), f.metered.Function(uint32(index))})
		} else if !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, wasm.HostModule+".") && name != wasiModule+".proc_exit" {
			out = append(out, Frame{Name: name}) // a host function
		}
	}
	return out
}
