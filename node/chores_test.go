package node

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestChoresOfAServiceKeepTheirOrderAndOthersDoNotWait(t *testing.T) {
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := new(Node)
			gate := make(chan struct{})
			var said []string
			n.mu.Lock()
			n.choreLocked("shop", func() { <-gate; said = append(said, "merged") })
			n.choreLocked("shop", func() { said = append(said, "dropped") })
			n.mu.Unlock()
			n.lockAfterChores("blog") // it would be a deadlock of the bubble
			n.mu.Unlock()
			turned := make(chan struct{})
			go func() { // waited for below
				defer close(turned)
				n.lockAfterChores("shop")
				said = append(said, "turned")
				n.mu.Unlock()
			}()
			synctest.Wait()
			if len(said) > 0 {
				t.Errorf("before the first is done: %v", said)
			}
			close(gate)
			<-turned
			n.chores.working.Wait()
			if diff := cmp.Diff([]string{"merged", "dropped", "turned"}, said); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	})
}
