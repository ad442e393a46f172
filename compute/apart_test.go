package compute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// compilers are what this program does by other names, with the folder.
var compilers = map[string]func(folder string) int{
	"compiler": func(folder string) int {
		status, err := CompileApart(context.Background(), folder, looksAround{os.Stdin, folder})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return status
	},
	"refuses": func(string) int {
		fmt.Fprintln(os.Stderr, "it has a flaw")
		return refusedStatus
	},
	"breaks": func(string) int {
		fmt.Fprintln(os.Stderr, "it broke")
		return 2
	},
	"endless": func(folder string) int {
		if os.WriteFile(folder+".began", nil, 0o600) != nil {
			return 2
		}
		time.Sleep(time.Hour) // unless it is ended
		return 0
	},
}

// looksAround notes the priorities of the process that reads it.
type looksAround struct {
	io.Reader
	folder string
}

func (l looksAround) Read(p []byte) (int, error) {
	if err := os.WriteFile(l.folder+".priorities", []byte(priorities()), 0o600); err != nil {
		return 0, err
	}
	return l.Reader.Read(p)
}

// compileApart compiles with one of the compilers. The file is what it noted.
func compileApart(t *testing.T, ctx context.Context, o Options) (*Engine, *Function, error) {
	t.Helper()
	e := newTestEngine(t, o)
	f, err := e.Compile(ctx, asm.Assemble(testImports+echo), Program{ABI: &testABI{version: new(int)}})
	if err == nil {
		t.Cleanup(f.Close)
	}
	return e, f, err
}

func TestAModuleIsCompiledInAProcessThatLetsOthersGoFirst(t *testing.T) {
	o := Options{Folder: t.TempDir(), Compiler: []string{os.Args[0], "compiler"}}
	e, f, err := compileApart(t, t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, f, 3, 3)
	if s := e.Stats(); s.Compiled != 1 || s.Apart != 1 {
		t.Errorf("got %+v, want one compilation, apart", s)
	}
	at := e.kept.at(f.Digest())
	if got := files(t, at); len(got) != 2 {
		t.Errorf("got the files %v, want a compiled one and its sum: was it compiled twice?", got)
	}
	if got, err := os.ReadFile(at + ".priorities"); err != nil || string(got) != lowestPriorities {
		t.Errorf("the compiler's priorities are %q, %v, want %q", got, err, lowestPriorities)
	}
	if e, _, err = compileApart(t, t.Context(), o); err != nil || e.Stats().Loaded != 1 {
		t.Errorf("it is not used again: %+v, %v", e.Stats(), err)
	}
}

func TestWhatACompilersProcessSaysIsTheError(t *testing.T) {
	for name, want := range map[string]struct {
		kind selvage.Kind
		text string
	}{
		"refuses": {selvage.Invalid, "compile module: it has a flaw"},
		"breaks":  {selvage.Unavailable, "exit status 2: it broke"},
	} {
		_, _, err := compileApart(t, t.Context(), Options{Folder: t.TempDir(), Compiler: []string{os.Args[0], name}})
		if err == nil || selvage.KindOf(err) != want.kind {
			t.Fatalf("%s: got %v, want kind %v", name, err, want.kind)
		}
		contains(t, err.Error(), want.text)
	}
}

func TestWithoutACompilersProcessTheEngineCompiles(t *testing.T) {
	e, f, err := compileApart(t, t.Context(), Options{Folder: t.TempDir(), Compiler: []string{filepath.Join(t.TempDir(), "gone"), "compiler"}})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, f, 3, 3)
	if s := e.Stats(); s.Compiled != 1 || s.Apart != 0 {
		t.Errorf("got %+v, want one compilation here", s)
	}
}

func TestACompilationApartEndsWithItsCaller(t *testing.T) {
	folder, gone := t.TempDir(), errors.New("nobody wants it")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { // the test waits for it
		_, _, err := compileApart(t, ctx, Options{Folder: folder, Compiler: []string{os.Args[0], "endless"}})
		ended <- err
	}()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if began, _ := filepath.Glob(filepath.Join(folder, "*.began")); len(began) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the compiler did not begin")
		}
	}
	cancel(gone)
	if err := <-ended; !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
}
