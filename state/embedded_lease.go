package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/selvage-edge/selvage"
)

// embeddedLeases keeps a lease as a message that the engine removes when its
// time is over. The token is the sequence of the message that took the lease.
type embeddedLeases struct{ e *Embedded }

// leaseRecord is what is stored of a lease.
type leaseRecord struct {
	Holder string        `json:"holder"`
	Token  Token         `json:"token,omitempty"` // 0: this message's own sequence
	TTL    time.Duration `json:"ttl"`
}

func (k LeaseKey) subject() string { return subject("lease", k.Tenant, k.Name) }

// read gives the lease that is there, and the sequence that a write replaces, also where it was given back.
func (e *embeddedLeases) read(ctx context.Context, l *live, key LeaseKey) (lease Lease, seq uint64, held bool, err error) {
	m, found, err := e.e.last(ctx, l, leaseStream, key.subject())
	if err != nil || !found || m.deleted {
		return Lease{}, m.seq, false, err
	}
	var r leaseRecord
	if err := json.Unmarshal(m.data, &r); err != nil {
		return Lease{}, 0, false, selvage.Errorf(selvage.Internal, "read lease %s: %w", key, err)
	}
	return Lease{
		Key: key, Holder: r.Holder, Token: orDefault(r.Token, Token(m.seq)), TTL: r.TTL, Expires: m.time.Add(r.TTL),
	}, m.seq, true, nil
}

// write replaces a message by the lease, and begins its time.
func (e *embeddedLeases) write(ctx context.Context, l *live, lease Lease, replaces uint64) (Lease, error) {
	body, err := json.Marshal(leaseRecord{lease.Holder, lease.Token, lease.TTL})
	if err != nil {
		return Lease{}, err
	}
	lease.Expires = time.Now().Add(lease.TTL) // before the engine's begins
	ack, err := e.e.publish(ctx, l, "leases", &nats.Msg{Subject: lease.Key.subject(), Data: body},
		jetstream.WithExpectLastSequencePerSubject(replaces), jetstream.WithMsgTTL(lease.TTL))
	if err != nil {
		return Lease{}, err
	}
	lease.Token = orDefault(lease.Token, Token(ack.Sequence))
	return lease, nil
}

func (e *embeddedLeases) Acquire(ctx context.Context, key LeaseKey, holder string, ttl time.Duration) (Lease, error) {
	if err := cmp.Or(key.check(), checkPart("holder", holder, maxName)); err != nil {
		return Lease{}, err
	}
	l, err := e.e.writer(ctx)
	if err != nil {
		return Lease{}, err
	}
	is, seq, isHeld, err := e.read(ctx, l, key)
	if err != nil {
		return Lease{}, err
	}
	if isHeld && is.Holder != holder {
		return Lease{}, held(is)
	}
	lease, err := e.write(ctx, l, Lease{Key: key, Holder: holder, TTL: wholeSeconds(ttl)}, seq)
	if errors.Is(err, errMoved) {
		err = selvage.Errorf(selvage.Conflict, "lease %s: %w", key, errMoved)
	}
	return lease, err
}

func (e *embeddedLeases) Renew(ctx context.Context, lease Lease) (Lease, error) {
	l, err := e.e.writer(ctx)
	if err != nil {
		return lease, err
	}
	for {
		// An answer that was lost may have renewed it already: the token says whose it is.
		is, seq, isHeld, err := e.read(ctx, l, lease.Key)
		if err != nil {
			return lease, err
		}
		if !isHeld || is.Token != lease.Token {
			return lease, lost(lease)
		}
		next, err := e.write(ctx, l, lease, seq)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, errMoved) {
			return lease, err
		}
	}
}

func (e *embeddedLeases) Release(ctx context.Context, lease Lease) error {
	l, err := e.e.engine(ctx)
	if err != nil {
		return err
	}
	is, seq, isHeld, err := e.read(ctx, l, lease.Key)
	if err != nil {
		return err
	}
	if !isHeld || is.Token != lease.Token {
		return lost(lease)
	}
	_, err = e.e.publish(ctx, l, "leases", &nats.Msg{Subject: lease.Key.subject(), Header: nats.Header{deletedHeader: {"1"}}},
		jetstream.WithExpectLastSequencePerSubject(seq), jetstream.WithMsgTTL(MinLease))
	if errors.Is(err, errMoved) {
		return lost(lease)
	}
	return err
}

func (e *embeddedLeases) Get(ctx context.Context, key LeaseKey) (Lease, error) {
	if err := key.check(); err != nil {
		return Lease{}, err
	}
	l, err := e.e.engine(ctx)
	if err != nil {
		return Lease{}, err
	}
	lease, _, isHeld, err := e.read(ctx, l, key)
	if err == nil && !isHeld {
		err = noLease(key)
	}
	if err != nil {
		return Lease{}, err
	}
	return lease, nil
}
