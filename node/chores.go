package node

import (
	"sync"

	"github.com/selvage-edge/selvage"
)

// chores are what is still to do with what services that were turned have stored.
type chores struct {
	working sync.WaitGroup
	last    map[selvage.ServiceName]chan struct{} // guarded by the node's mu; closed when it is done
}

// choreLocked does something that takes its time, after all that is still to do for
// the same service. Nobody waits for it but the next turn of that service.
func (n *Node) choreLocked(service selvage.ServiceName, do func()) {
	if n.ended {
		return // what is stored ends with the node
	}
	before, done := n.chores.last[service], make(chan struct{})
	if n.chores.last == nil {
		n.chores.last = make(map[selvage.ServiceName]chan struct{})
	}
	n.chores.last[service] = done
	n.chores.working.Go(func() { // releaseArms waits for it
		defer close(done)
		if before != nil {
			<-before
		}
		do()
	})
}

// lockAfterChores locks mu when nothing is left to do for the service.
func (n *Node) lockAfterChores(service selvage.ServiceName) {
	for {
		n.mu.Lock()
		last := n.chores.last[service]
		if last == nil {
			return
		}
		select {
		case <-last:
			delete(n.chores.last, service)
			return
		default:
		}
		n.mu.Unlock()
		<-last
	}
}
