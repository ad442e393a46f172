package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/selvage-edge/selvage"
)

// deletedHeader marks the message that says that something is gone.
const deletedHeader = "Selvage-Deleted"

// message is a stored message.
type message struct {
	subject string
	seq     uint64
	time    time.Time
	id      string
	deleted bool
	data    []byte
}

// part is the nth part of the subject, as it was before it was escaped.
func (m message) part(n int) string {
	parts := strings.Split(m.subject, ".")
	if n >= len(parts) {
		return ""
	}
	return unescape(parts[n])
}

// The error codes of the engine that mean something here.
const (
	wrongSequence         jetstream.ErrorCode = 10071
	wrongSequenceConstant jetstream.ErrorCode = 10164
	storeFailed           jetstream.ErrorCode = 10077
	noStorage             jetstream.ErrorCode = 10047
	noResources           jetstream.ErrorCode = 10023
)

// errMoved says that an expected sequence is not the last one.
var errMoved = errors.New("it was changed meanwhile")

// fail gives an error of the engine its kind. ctx is the caller's.
func (e *Embedded) fail(ctx context.Context, limit string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch {
		case api.ErrorCode == wrongSequence || api.ErrorCode == wrongSequenceConstant:
			return selvage.Errorf(selvage.Conflict, "%w", errMoved)
		case api.ErrorCode == storeFailed && strings.Contains(api.Description, "maximum"), api.ErrorCode == noStorage, api.ErrorCode == noResources:
			return e.limits.full(limit)
		}
	}
	switch {
	case errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription):
		if _, closed := e.engine(ctx); closed != nil {
			return closed
		}
		return selvage.Errorf(selvage.Unavailable, "the engine was started again")
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout):
		return selvage.Errorf(selvage.Unavailable, "the engine did not answer in %s, is the disk full or slow? %w", callTimeout, err)
	}
	if _, ok := errors.AsType[*selvage.Error](err); ok {
		return err
	}
	return selvage.Errorf(selvage.Unavailable, "%w", err)
}

// publish stores a message. limit is what is full if the stream is.
func (e *Embedded) publish(ctx context.Context, l *live, limit string, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if l.broken() {
		return nil, e.diskFull()
	}
	call, cancel := l.guard(ctx)
	defer cancel()
	ack, err := l.js.PublishMsg(call, msg, append(opts, jetstream.WithRetryAttempts(0))...)
	if err != nil && ctx.Err() == nil && l.broken() {
		return nil, e.diskFull()
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return nil, err // the caller knows what that means
	}
	return ack, e.fail(ctx, limit, err)
}

// get is a request for stored messages, as the engine wants it.
type get struct {
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Seq      uint64 `json:"seq,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// last reads the last message with a subject.
func (e *Embedded) last(ctx context.Context, l *live, stream, subject string) (m message, found bool, err error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(get{LastFor: subject})
	if err != nil {
		return message{}, false, err
	}
	msg, err := l.nc.RequestWithContext(call, "$JS.API.DIRECT.GET."+stream, body)
	if err != nil {
		return message{}, false, e.fail(ctx, "", err)
	}
	m, status, err := parse(msg)
	return m, status == "", err
}

// batch is how much is read from the engine at once.
const (
	batch      = 64
	batchBytes = 2 << 20
)

// next reads some messages from a sequence on that match a filter, in order. None: there are none yet.
func (e *Embedded) next(ctx context.Context, l *live, stream, filter string, from uint64) ([]message, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(get{NextFor: filter, Seq: max(from, 1), Batch: batch, MaxBytes: batchBytes})
	if err != nil {
		return nil, err
	}
	// One that is read by NextMsg would have room for 65,536 messages: half a megabyte for a look, some looks a second.
	inbox, answers := l.nc.NewInbox(), make(chan *nats.Msg, batch+1)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, e.fail(ctx, "", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it fails only where the connection is closed
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		return nil, e.fail(ctx, "", err)
	}
	var out []message
	for {
		var msg *nats.Msg
		select {
		case msg = <-answers:
		case <-call.Done():
			return nil, e.fail(ctx, "", call.Err())
		case <-l.gone:
			return nil, e.fail(ctx, "", nats.ErrConnectionClosed)
		}
		if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
			return nil, nil // a feed that was deleted; its reader finds out when it looks
		}
		m, status, err := parse(msg)
		if err != nil {
			return nil, err
		}
		if status != "" { // 204: the end of the batch, 404: there is none
			return out, nil
		}
		out = append(out, m)
	}
}

// parse reads what the engine answers to a get. A status that says that there is nothing is no error.
func parse(msg *nats.Msg) (m message, status string, err error) {
	switch status = msg.Header.Get("Status"); status {
	case "":
	case "204", "404":
		return message{}, status, nil
	default:
		return message{}, status, selvage.Errorf(selvage.Unavailable, "the engine answered %s %s", status, msg.Header.Get("Description"))
	}
	m = message{subject: msg.Header.Get("Nats-Subject"), data: msg.Data, deleted: msg.Header.Get(deletedHeader) != ""}
	m.seq, err = strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
	if err == nil {
		m.time, err = time.Parse(time.RFC3339Nano, msg.Header.Get("Nats-Time-Stamp"))
	}
	if err != nil {
		return message{}, "", selvage.Errorf(selvage.Internal, "read stored message: %w", err)
	}
	m.id = unescape(msg.Header.Get(nats.MsgIdHdr))
	return m, "", nil
}

// tail gives the messages from a sequence on that match a filter, some at a
// time, and waits for more. It gives none where there were none for some time.
func (e *Embedded) tail(ctx context.Context, stream, filter string, from uint64, every time.Duration) iter.Seq2[[]message, error] {
	return func(yield func([]message, error) bool) {
		l, err := e.engine(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		// A hint that is lost, or comes for what was read already, costs one look.
		hint := make(chan struct{}, 1)
		sub, err := l.nc.Subscribe(stored+filter, func(*nats.Msg) {
			select {
			case hint <- struct{}{}:
			default:
			}
		})
		if err != nil {
			yield(nil, e.fail(ctx, "", err))
			return
		}
		defer sub.Unsubscribe() //nolint:errcheck // it fails only where the connection is closed
		beat := time.Now().Add(every)
		for {
			messages, err := e.next(ctx, l, stream, filter, from)
			if err != nil {
				yield(nil, err)
				return
			}
			if idle := len(messages) == 0; !idle || !time.Now().Before(beat) {
				beat = time.Now().Add(every)
				if !idle {
					from = messages[len(messages)-1].seq + 1
				}
				if !yield(messages, nil) {
					return
				}
				if !idle {
					continue
				}
			}
			if err := e.idle(ctx, hint, time.Until(beat)); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// idle waits for a hint or the time.
func (e *Embedded) idle(ctx context.Context, hint <-chan struct{}, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-hint:
	case <-timer.C:
	case <-ctx.Done():
		return ended(ctx)
	case <-e.quit:
		return selvage.Errorf(selvage.Unavailable, "%w", ErrClosed)
	case <-e.done:
		return selvage.Errorf(selvage.Unavailable, "%w", ErrClosed)
	}
	return nil
}

// subject joins the parts of a key, escaped.
func subject(kind string, tenant selvage.Tenant, parts ...string) string {
	out := []string{kind, escape(string(tenant))}
	for _, p := range parts {
		out = append(out, escape(p))
	}
	return strings.Join(out, ".")
}

// streamName is the name of a stream of one feed or queue.
func streamName(kind string, tenant selvage.Tenant, name string) string {
	return fmt.Sprintf("%s_%s_%s", kind, escape(string(tenant)), escape(name))
}
