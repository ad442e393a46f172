package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary serve as the real program, under the name selvage.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"selvage": main})
}

// TestCommands plays testdata/script: each file is a session at a terminal.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("LANG", "C")
			return os.MkdirAll(env.WorkDir+"/home", 0o700)
		},
	})
}
