package compute

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
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
	if len(t.Stack) > 0 {
		fmt.Fprintf(&b, ", in %s", t.Stack[0].Name)
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

// fingerprintFrames is how many frames tell one defect from another.
const fingerprintFrames = 3

// Fingerprint is the same for the same defect in every build of a program:
// its kind and the names, or the body hashes, of the three innermost
// functions. The module is not in it, or every old defect would look new in
// every new module. 16 hexadecimal digits.
func (t *Trap) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", t.Kind)
	for _, f := range t.Stack[:min(len(t.Stack), fingerprintFrames)] {
		fmt.Fprintf(h, "%s\n", f.Name)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
