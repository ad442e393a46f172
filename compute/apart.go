package compute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/tetratelabs/wazero"
)

// The engine's compiler takes seconds and hundreds of megabytes for a large
// module, and cannot be made to yield: beside it a request waits for slices of
// 10 ms, several times. So it runs in a process of its own, which the system
// can let wait, can do without when memory is scarce, and can end.

// compileFor is how long one compilation may take. It has the lowest priority,
// so that on a busy machine it takes many times what it does on an idle one.
const compileFor = 10 * time.Minute

// apart compiles a metered module into a folder by running [Options.Compiler].
// ran is false where there is no such process to be had.
func (e *Engine) apart(ctx context.Context, folder string, module []byte) (ran bool, err error) {
	if len(e.options.Compiler) == 0 {
		return false, nil
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("compile function: %w", context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, compileFor, fmt.Errorf("it took longer than %v", compileFor))
	defer cancel()
	cmd := exec.CommandContext(ctx, e.options.Compiler[0])
	cmd.Args = append(e.options.Compiler[1:len(e.options.Compiler):len(e.options.Compiler)], folder)
	in, err := cmd.StdinPipe()
	if err != nil {
		return false, nil
	}
	said := &firstBytes{}
	cmd.Stderr = said
	cmd.WaitDelay = time.Second
	release := tie(cmd)
	defer release()
	if err := cmd.Start(); err != nil {
		return false, nil // the program's file has gone, or there is no room for a process: it is compiled here
	}
	_, writeErr := in.Write(module)
	closeErr := in.Close()
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return true, selvage.Errorf(selvage.Unavailable, "compile module in a process of its own: %w", context.Cause(ctx))
	case cmd.ProcessState.ExitCode() == refusedStatus:
		return true, selvage.Errorf(selvage.Invalid, "compile module: %s", strings.TrimSpace(said.String()))
	case err != nil:
		return true, selvage.Errorf(selvage.Unavailable, "compile module in a process of its own: %w: %s", err, strings.TrimSpace(said.String()))
	}
	if err := errors.Join(writeErr, closeErr); err != nil {
		return true, selvage.Errorf(selvage.Unavailable, "compile module in a process of its own: %w", err)
	}
	return true, nil
}

// refusedStatus is how a compiler exits that refuses a module.
const refusedStatus = 3

// firstBytes keeps the first of what is written.
type firstBytes struct{ strings.Builder }

func (b *firstBytes) Write(p []byte) (int, error) {
	const most = 4 << 10
	b.Builder.Write(p[:min(len(p), max(most-b.Len(), 0))])
	return len(p), nil
}

// CompileApart is what the process of [Options.Compiler] does: it compiles the
// metered module that it reads into a folder of the engine's, at the lowest
// priority. status is what it has to exit with.
func CompileApart(ctx context.Context, folder string, module io.Reader) (status int, err error) {
	makeWayForAll()
	data, err := io.ReadAll(module)
	if err != nil {
		return 1, fmt.Errorf("read module: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(folder)
	if err != nil {
		return 1, fmt.Errorf("open folder of compiled functions: %w", err)
	}
	defer func() { _ = cache.Close(ctx) }() // what was written is on the disk
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig().WithCompilationCache(cache))
	defer func() { _ = r.Close(ctx) }() // the process ends with it
	if _, err := r.CompileModule(ctx, data); err != nil {
		return refusedStatus, err
	}
	if err := inSmallPages(folder); err != nil {
		return 1, fmt.Errorf("write compiled function: %w", err)
	}
	return 0, nil
}
