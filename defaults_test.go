package selvage

import (
	"encoding"
	"reflect"
	"strconv"
	"testing"
	"time"
)

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	for _, v := range []any{Limits{}.OrDefaults(), Limits{Head: -1, Fields: -1}.OrDefaults(), Deadlines{}.OrDefaults()} {
		s := reflect.ValueOf(v)
		for i := range s.NumField() {
			f, have := s.Type().Field(i), s.Field(i)
			preset, want := f.Tag.Get("default"), reflect.New(f.Type)
			if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](want); ok {
				if err := u.UnmarshalText([]byte(preset)); err != nil {
					t.Fatal(err)
				}
			} else if n, err := strconv.ParseInt(preset, 10, 64); err != nil {
				t.Fatal(err)
			} else {
				want.Elem().SetInt(n)
			}
			if have.Int() != want.Elem().Int() {
				t.Errorf("%s of %T is %v, documented as %s", f.Name, v, have, preset)
			}
		}
	}
}

func TestWhatIsSetIsNoDefault(t *testing.T) {
	if got := (Limits{Head: 1, Streams: 2}).OrDefaults(); got.Head != 1 || got.Streams != 2 || got.Target != 8<<10 {
		t.Errorf("got %+v", got)
	}
	set := Deadlines{Head: Duration(time.Second)}
	if got := set.OrDefaults(); got != set {
		t.Errorf("got %+v", got)
	}
}
