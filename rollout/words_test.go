package rollout

import (
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

func TestAChangeIsToldInTheWordsOfItsKind(t *testing.T) {
	for kind, want := range map[selvage.ChangeKind]struct{ unit, planned string }{
		selvage.RevisionChange:    {"makings", "shop 01234567 -> fedcba98"},
		selvage.WeightChange:      {"makings", "shop 01234567 -> fedcba98"},
		selvage.CertificateChange: {"handshakes", "shop 01234567 -> fedcba98"},
		selvage.PurgeChange:       {"forwards", "shop forgets what is stored"},
	} {
		d := in(spreading)
		d.Rollout.Change.Kind, d.Rollout.Change.From, d.Rollout.Change.To = kind, "0123456789abcdef", "fedcba9876543210"
		shown := d.status()
		if got := words("planned", &shown); shown.Unit != want.unit || got != want.planned {
			t.Errorf("%s: %q in %q, want %q in %q", kind, got, shown.Unit, want.planned, want.unit)
		}
	}
}

func TestWhatIsReleasedIsNotSaidToBeHeld(t *testing.T) {
	held := client.Rollout{Change: client.Change{State: client.Held, Words: "held after 6 bad"}}
	watched := client.Rollout{Change: client.Change{State: client.Watching, Words: "held after 6 bad"}}
	if got := happened(&held, &watched, false); len(got) != 1 || words(got[0], &watched) != "" {
		t.Errorf("got %v, %q", got, words(got[0], &watched))
	}
}
