package compute

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

const echo = "memory 1\nfunc $_start export=_start\n call $ask / call $answer\nendfunc"

func compileKept(t *testing.T, o Options, text string) Stats {
	t.Helper()
	e := newTestEngine(t, o)
	f, err := e.Compile(t.Context(), asm.Assemble(testImports+text), Program{ABI: &testABI{version: new(int)}})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, f, 3, 3)
	f.Close()
	return e.Stats()
}

func files(t *testing.T, folder string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestACompiledFileIsUsedAgain(t *testing.T) {
	o := Options{Folder: t.TempDir()}
	if s := compileKept(t, o, echo); s.Compiled != 1 || s.Loaded != 0 {
		t.Errorf("got %+v, want one compilation", s)
	}
	if s := compileKept(t, o, echo); s.Compiled != 0 || s.Loaded != 1 {
		t.Errorf("got %+v, want none", s)
	}
}

func TestFilesInSmallPagesAreAsTheyWere(t *testing.T) {
	at := t.TempDir()
	want := map[string]string{"engine/code": strings.Repeat("code", 2501), "engine/empty": ""}
	if err := os.Mkdir(filepath.Join(at, "engine"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := inSmallPages(at); err != nil {
		t.Fatal(err)
	}
	if got := files(t, at); len(got) != len(want) {
		t.Errorf("got the files %v", got)
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(at, name))
		if err != nil || string(got) != text {
			t.Errorf("%s has %d bytes, %v, want %d", name, len(got), err, len(text))
		}
	}
}

// TestACorruptedFileIsCompiledAgain turns every byte of every file in turn,
// in steps that meet all of the file's parts.
func TestACorruptedFileIsCompiledAgain(t *testing.T) {
	o := Options{Folder: t.TempDir()}
	compileKept(t, o, echo)
	names := files(t, o.Folder)
	if len(names) != 2 {
		t.Fatalf("got the files %v", names)
	}
	for _, name := range names {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(whole); i += max(1, len(whole)/12) {
			broken := append([]byte(nil), whole...)
			broken[i] ^= 0x41
			if err := os.WriteFile(name, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			if s := compileKept(t, o, echo); s.Corrupted != 1 || s.Compiled != 1 {
				t.Errorf("%s, byte %d: got %+v", filepath.Base(name), i, s)
			}
		}
		if err := os.Truncate(name, int64(len(whole)/2)); err != nil {
			t.Fatal(err)
		}
		if s := compileKept(t, o, echo); s.Corrupted != 1 || s.Compiled != 1 {
			t.Errorf("%s, cut: got %+v", filepath.Base(name), s)
		}
		if s := compileKept(t, o, echo); s.Corrupted != 0 || s.Loaded != 1 {
			t.Errorf("%s: got %+v after it was made again", filepath.Base(name), s)
		}
	}
}

func TestTheFolderOfCompiledFilesIsBounded(t *testing.T) {
	o := Options{Folder: t.TempDir(), FolderBytes: 1}
	compileKept(t, o, echo)
	compileKept(t, o, "func $other\n endfunc\n"+echo)
	if got := files(t, o.Folder); len(got) != 2 {
		t.Errorf("got %d files, want those of the last module only", len(got))
	}
	o.FolderBytes = 1 << 20
	compileKept(t, o, echo)
	if got := files(t, o.Folder); len(got) != 4 {
		t.Errorf("got %d files, want those of two modules", len(got))
	}
}
