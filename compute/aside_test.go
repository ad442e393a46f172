package compute

import (
	"runtime"
	"testing"
)

func TestLongWorkHasAProcessorMoreWhereThereIsOne(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "1") // what it is set back to
	var a aside
	inner, after := 0, 0
	a.run(func() {
		a.run(func() { inner = runtime.GOMAXPROCS(0) })
		after = runtime.GOMAXPROCS(0)
	})
	if inner != 2 || after != 2 || runtime.GOMAXPROCS(0) != 1 {
		t.Errorf("got %d processors, %d beside another job, %d behind them; want 2, 2 and 1", inner, after, runtime.GOMAXPROCS(0))
	}
	runtime.GOMAXPROCS(3)
	a.run(func() { inner = runtime.GOMAXPROCS(0) })
	if inner != 3 || runtime.GOMAXPROCS(0) != 3 {
		t.Errorf("got %d processors and %d, want 3: there were enough", inner, runtime.GOMAXPROCS(0))
	}
}
