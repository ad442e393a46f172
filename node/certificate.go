package node

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/rollout"
)

// shownCertificate is what a revision shows to clients of its hosts.
type shownCertificate struct {
	pair  *tls.Certificate
	chain [sha256.Size]byte // a digest of the chain
}

// certificate is nil where the node file's certificates are shown.
func (s *shownCertificate) certificate() *tls.Certificate {
	if s == nil {
		return nil
	}
	return s.pair
}

// sameAs says that clients see no difference.
func (s *shownCertificate) sameAs(o *shownCertificate) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.chain == o.chain
}

// loadCertificate reads a service's certificate; nil without one.
func loadCertificate(t *selvage.ServiceTLS) (*shownCertificate, error) {
	if t.Certificate == "" {
		return nil, nil //nolint:nilnil // none is what it says
	}
	chain, err := os.ReadFile(t.Certificate)
	if err != nil {
		return nil, fmt.Errorf("read certificate.chain: %w", err)
	}
	key := []byte(t.Key)
	if !t.HasKey() {
		if key, err = os.ReadFile(t.Key); err != nil {
			return nil, fmt.Errorf("read certificate.key: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("read certificate.chain and its key: %w", err)
	}
	return &shownCertificate{&pair, sha256.Sum256(chain)}, nil
}

// handshakes is the class that handshakes are judged in.
const handshakes = "TLS handshake"

// certificate chooses what a client is shown, for [listen.Group]. Where the arms of a
// rollout show different ones, each handshake that shows one is a making: its bads are the clients that refuse it.
func (n *Node) certificate(hello *tls.ClientHelloInfo, client netip.Addr) (*tls.Certificate, func(refused bool)) {
	t := n.table.Load()
	i, ok := t.hosts.Find(hello.ServerName)
	if !ok {
		return nil, nil
	}
	s := t.services[i]
	switch {
	case s.baseline == nil:
		return s.canary.shown.certificate(), nil
	case s.canary == nil || s.baseline.shown.sameAs(s.canary.shown):
		return s.baseline.shown.certificate(), nil
	}
	place, who := s.units.handshake(client)
	arm, shows := selvage.Baseline, s.baseline
	if s.all || place < s.threshold {
		arm, shows = selvage.Canary, s.canary
	}
	return shows.shown.certificate(), s.watch.handshake(s, shows.id, arm, who, client)
}

// handshake is the place of a handshake in the order of units, and the client as a
// number that says nothing of who it is. Where certificates are all that is different,
// each handshake is a unit; else it belongs to its client, whose requests will meet the same arm.
func (u *units) handshake(client netip.Addr) (place, who uint64) {
	unit := unitOf(client)
	u.block.Encrypt(unit[:], unit[:])
	place, who = binary.BigEndian.Uint64(unit[:8]), binary.BigEndian.Uint64(unit[8:])
	if u.by == selvage.ByConnection {
		place = rand.Uint64()
	}
	return place, who
}

// handshake counts one that has begun. The function that it returns ends it; nil if nobody counts.
func (w *watching) handshake(s *served, shows selvage.RevisionID, arm selvage.Arm, who uint64, client netip.Addr) func(refused bool) {
	now := w.now.Load()
	if now == nil || now.change != s.change || now.watch == nil {
		return nil
	}
	watch := now.watch
	making := watch.Begin(time.Now(), arm, who, handshakes)
	facts := rollout.Facts{Revision: shows, Client: client}
	if arm == selvage.Canary {
		facts.Change = s.change
	}
	return func(refused bool) {
		// How long it took is the client's doing: it is the same for all, which is never slower than the others.
		o := judge.Outcome{NoBody: true, Latency: time.Microsecond}
		if refused {
			o.Bad = o.Bad.With(judge.OwnError)
		}
		watch.End(making, o, &facts)
	}
}
