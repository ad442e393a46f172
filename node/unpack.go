package node

import (
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/state"
)

// filed are the services that this process read from its files. Their values from
// elsewhere are in no store: an undo of a change of a file takes them from here.
type filed struct {
	mu   sync.Mutex
	kept []filedService // guarded by mu; the newest last
}

type filedService struct {
	id      selvage.RevisionID // by config.Revision
	service selvage.Service
}

// maxFiled is how many are kept: for each service the last few.
const maxFiled = 256

func (f *filed) keep(services []selvage.Service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range services {
		f.kept = append(f.kept, filedService{config.Revision(s), s})
	}
	if more := len(f.kept) - max(maxFiled, 2*len(services)); more > 0 {
		f.kept = append([]filedService(nil), f.kept[more:]...)
	}
}

func (f *filed) find(id selvage.RevisionID) (selvage.Service, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range slices.Backward(f.kept) {
		if one.id == id {
			return one.service, true
		}
	}
	return selvage.Service{}, false
}

// unpack makes the service of a manifest, which may be one of a file of this machine.
// Secrets are put in here, and nowhere else.
func (n *Node) unpack(manifest []byte, open func(state.Digest) (io.ReadCloser, error), folder string) (selvage.Service, error) {
	if config.IsLocal(manifest) {
		w, id, err := config.ReadLocal(manifest)
		if err != nil {
			return selvage.Service{}, err
		}
		if s, ok := n.filed.find(id); ok && s.Service == w.Service.Service {
			return s, nil
		}
		return config.UnpackLocal(manifest)
	}
	granted := n.settings().Secrets
	return config.Unpack(manifest, config.Unpacking{
		Folder: folder, Open: func(d config.Digest) (io.ReadCloser, error) { return open(d) },
		Secret: func(service selvage.ServiceName, name string) (string, error) {
			return config.ReadSecret(granted, service, name)
		},
	})
}

// secretless is an error without the secrets of a service.
func (n *Node) secretless(service selvage.ServiceName, err error) error {
	words := err.Error()
	granted := n.settings().Secrets
	for name := range granted {
		if value, err := config.ReadSecret(granted, service, name); err == nil {
			words = strings.ReplaceAll(words, value, "${secret:"+name+"}")
		}
	}
	if words == err.Error() {
		return err
	}
	return selvage.Errorf(selvage.KindOf(err), "%s", words)
}
