package compute

import (
	"fmt"
	"slices"
	"time"
)

// LimitName names a limit of a function, as records, metrics and messages do.
type LimitName string

// The limits of a function.
const (
	LimitCPU            LimitName = "cpu"
	LimitWall           LimitName = "wall"
	LimitMemory         LimitName = "memory"
	LimitStack          LimitName = "stack"
	LimitOriginRequests LimitName = "origin_requests"
	LimitLogBytes       LimitName = "log_bytes"
	LimitHeaderBytes    LimitName = "header_bytes"
	LimitPackage        LimitName = "package"
	LimitTables         LimitName = "tables"
	LimitSandboxes      LimitName = "sandboxes"
)

// Limits bound a function. The zero value of a field means its default.
type Limits struct {
	// CPU is the time that the guest computes for one request. Default 50 ms.
	CPU time.Duration
	// Wall is the time that a request may take in all. Default 2 min.
	Wall time.Duration
	// Memory is the linear memory in bytes, rounded down to 64 KiB. Default 128 MiB.
	Memory uint64
	// Stack is the stack of the compiled code in bytes. Default 1 MiB.
	Stack uint64
	// OriginRequests is the number of requests to origins for one request. Default 32.
	OriginRequests int
	// LogBytes is what a request may write to logs. Default 64 KiB. More is dropped.
	LogBytes int64
	// HeaderBytes is the size of the fields of an answer. Default 64 KiB.
	HeaderBytes int
	// Package is the size of the module in bytes. Default 100 MB.
	Package int64
	// Tables is the number of elements that all tables may have together. Default 131,072.
	Tables uint32
	// Sandboxes is how many requests are in the function at once, and how many
	// sandboxes are kept. More requests wait. Default 64.
	Sandboxes int
}

// withDefaults fills in what was left out.
func (l Limits) withDefaults() Limits {
	fill := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	fill(&l.CPU, 50*time.Millisecond)
	fill(&l.Wall, 2*time.Minute)
	orElse(&l.Memory, 128<<20)
	orElse(&l.Stack, 1<<20)
	orElse(&l.OriginRequests, 32)
	orElse(&l.LogBytes, 64<<10)
	orElse(&l.HeaderBytes, 64<<10)
	orElse(&l.Package, 100_000_000)
	orElse(&l.Tables, 1<<17)
	orElse(&l.Sandboxes, 64)
	return l
}

func orElse[T int | int64 | uint32 | uint64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// LimitError says which limit ended a request, or refused a module.
type LimitError struct {
	Name LimitName
	Text string // what was used and what is allowed
	Trap *Trap  // where the guest was; nil if it was not running
}

func (e *LimitError) Error() string { return fmt.Sprintf("%s limit: %s", e.Name, e.Text) }

// Unwrap is the trap.
func (e *LimitError) Unwrap() error {
	if e.Trap == nil {
		return nil
	}
	return e.Trap
}

func limitErrorf(name LimitName, format string, args ...any) *LimitError {
	return &LimitError{Name: name, Text: fmt.Sprintf(format, args...)}
}

// hit notes that a limit was reached, once for each request.
func (g *Guest) hit(name LimitName) {
	if slices.Contains(g.in.Usage.Hit, name) {
		return
	}
	g.in.Usage.Hit = append(g.in.Usage.Hit, name)
	if g.onLimit != nil {
		g.onLimit(string(name))
	}
}
