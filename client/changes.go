package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 4 << 20

// Who asks: the name and the role of the token, or of the user at the socket.
func (c *Client) Who(ctx context.Context) (*Token, error) {
	t := new(Token)
	return t, c.get(ctx, "/v1/whoami", t)
}

// HasBlob asks whether the node has a blob of this SHA-256 in hexadecimal digits.
func (c *Client) HasBlob(ctx context.Context, digest string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodHead, "/v1/blobs/"+url.PathEscape(digest), nil, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return true, nil
	case http.StatusNotFound:
		return false, nil
	case http.StatusForbidden: // an answer to HEAD has no words
		return false, &Problem{Title: resp.Status, Status: resp.StatusCode, Detail: "the token's role does not allow this"}
	}
	return false, problemOf(resp, nil)
}

// PutBlob sends a blob, as long as ctx allows. The node refuses what is not its digest's.
func (c *Client) PutBlob(ctx context.Context, digest string, r io.Reader) error {
	resp, err := c.do(ctx, http.MethodPut, "/v1/blobs/"+url.PathEscape(digest), nil, r)
	if err != nil {
		return err
	}
	return done(resp, nil)
}

// Plan says what a manifest would change. Nothing is kept of it.
func (c *Client) Plan(ctx context.Context, manifest []byte) (*Plan, error) {
	p := new(Plan)
	return p, c.send(ctx, http.MethodPost, "/v1/plan", PlanRequest{string(manifest)}, p)
}

// Submit asks for a change. Its manifest and its files are blobs already. When
// this returns the change will have an outcome.
func (c *Client) Submit(ctx context.Context, s Submission) (*Change, error) {
	out := new(Change)
	return out, c.send(ctx, http.MethodPost, "/v1/changes", s, out)
}

// Changes gives a page of changes, the newest first: of one service or of all if
// it is empty, and those before a change if that is not.
func (c *Client) Changes(ctx context.Context, service, before string, most int) (*ChangeList, error) {
	q := url.Values{}
	add(q, "service", service)
	add(q, "before", before)
	if most > 0 {
		q.Set("most", strconv.Itoa(most))
	}
	out := new(ChangeList)
	return out, c.query(ctx, "/v1/changes", q, out)
}

func add(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// Change gives one change.
func (c *Client) Change(ctx context.Context, id string) (*Change, error) {
	out := new(Change)
	return out, c.get(ctx, "/v1/changes/"+url.PathEscape(id), out)
}

// Of says which rollout is meant: that of a change, or the last one of a service,
// or the last of all if both are empty.
type Of struct{ Change, Service string }

func (o Of) path() string {
	if o.Change == "" {
		return "last"
	}
	return url.PathEscape(o.Change)
}

func (o Of) query() url.Values {
	q := url.Values{}
	add(q, "service", o.Service)
	return q
}

// Undo takes a change back.
func (c *Client) Undo(ctx context.Context, of Of, why string) (*Rollout, error) {
	return c.ask(ctx, "/v1/changes/"+of.path()+"/undo", of, why)
}

// Hold stops a rollout where it stands.
func (c *Client) Hold(ctx context.Context, of Of, why string) (*Rollout, error) {
	return c.ask(ctx, "/v1/rollouts/"+of.path()+"/hold", of, why)
}

// Promote ends a hold or a wait. It opens no gate.
func (c *Client) Promote(ctx context.Context, of Of, why string) (*Rollout, error) {
	return c.ask(ctx, "/v1/rollouts/"+of.path()+"/promote", of, why)
}

// BreakGlass shortens the gates of a rollout and leaves none out.
func (c *Client) BreakGlass(ctx context.Context, of Of, why string) (*Rollout, error) {
	return c.ask(ctx, "/v1/rollouts/"+of.path()+"/break-glass", of, why)
}

// Pass makes what lets requests meet one arm of a rollout.
func (c *Client) Pass(ctx context.Context, of Of, r PassRequest) (*Pass, error) {
	path := "/v1/rollouts/" + of.path() + "/pass"
	if q := of.query().Encode(); q != "" {
		path += "?" + q
	}
	out := new(Pass)
	return out, c.send(ctx, http.MethodPost, path, r, out)
}

func (c *Client) ask(ctx context.Context, path string, of Of, why string) (*Rollout, error) {
	if q := of.query().Encode(); q != "" {
		path += "?" + q
	}
	out := new(Rollout)
	return out, c.send(ctx, http.MethodPost, path, Reason{why}, out)
}

// Rollout says how a rollout stands.
func (c *Client) Rollout(ctx context.Context, of Of) (*Rollout, error) {
	out := new(Rollout)
	return out, c.query(ctx, "/v1/rollouts/"+of.path(), of.query(), out)
}

// Rollouts gives the last rollout of each service, the newest first.
func (c *Client) Rollouts(ctx context.Context) ([]Rollout, error) {
	out := new(RolloutList)
	err := c.get(ctx, "/v1/rollouts", out)
	return out.Rollouts, err
}

// away is how long a node may be away in the middle of a stream.
const away = 30 * time.Second

// Watch tells how a rollout goes on until it has an outcome. A stream that
// breaks after it has told something is opened again, for as long as a node takes
// to start once more; what it tells is how things stand, so nothing is missed by it.
func (c *Client) Watch(ctx context.Context, of Of) iter.Seq2[*Progress, error] {
	return func(yield func(*Progress, error) bool) {
		var heard time.Time // of the last that was told
		for {
			told, over, err := c.follow(ctx, of, yield)
			if over {
				return
			}
			if told {
				heard = time.Now()
			}
			problem, refused := errors.AsType[*Problem](err)
			refused = refused && problem.Status != http.StatusServiceUnavailable // a node that starts
			if !refused && !heard.IsZero() && time.Since(heard) < away && wait(ctx, time.Second) == nil {
				continue
			}
			switch {
			case ctx.Err() != nil:
				err = ctx.Err()
			case err == nil:
				err = errors.New("the node ended the stream before the rollout was over")
			}
			yield(nil, err)
			return
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// follow reads one stream. over says that the reader wants no more or that the
// rollout has its outcome.
func (c *Client) follow(ctx context.Context, of Of, yield func(*Progress, error) bool) (told, over bool, err error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/rollouts/"+of.path()+"/events", of.query(), nil)
	if err != nil {
		return false, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what cannot be read leaves the status
		return false, false, problemOf(resp, body)
	}
	for event, err := range events(resp.Body) {
		if err != nil {
			return told, false, fmt.Errorf("read the rollout's events: %w", err)
		}
		switch event.name {
		case "progress":
			p := new(Progress)
			if err := json.Unmarshal(event.data, p); err != nil {
				return told, false, fmt.Errorf("read the rollout's events: %w", err)
			}
			told = true
			if !yield(p, nil) || Over(p.Rollout.Change.State) {
				return told, true, nil
			}
		case "problem":
			p := new(Problem)
			if err := json.Unmarshal(event.data, p); err != nil {
				return told, false, fmt.Errorf("read the rollout's events: %w", err)
			}
			return told, false, p
		}
	}
	return told, false, nil
}

// event is one of a stream of server-sent events.
type event struct {
	name string
	data []byte
}

// events reads server-sent events as our server writes them: a name, and data
// in one or more lines.
func events(r io.Reader) iter.Seq2[event, error] {
	return func(yield func(event, error) bool) {
		scan := bufio.NewScanner(r)
		scan.Buffer(make([]byte, 0, 64<<10), maxEvent)
		var e event
		for scan.Scan() {
			field, value, _ := strings.Cut(scan.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case scan.Text() == "":
				if len(e.data) > 0 && !yield(e, nil) {
					return
				}
				e = event{}
			case field == "event":
				e.name = value
			case field == "data":
				if e.data = append(e.data, value...); len(e.data) > maxEvent {
					yield(event{}, bufio.ErrTooLong)
					return
				}
			}
		}
		if err := scan.Err(); err != nil {
			yield(event{}, err)
		}
	}
}

// Log gives the entries of the log of changes behind a position, to its end as
// it is now. [Chain] verifies them.
func (c *Client) Log(ctx context.Context, after uint64) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		for {
			page := new(LogPage)
			err := c.query(ctx, "/v1/log", url.Values{"after": {strconv.FormatUint(after, 10)}}, page)
			if err != nil {
				yield(LogEntry{}, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
				after = e.Position
			}
			if !page.More || len(page.Entries) == 0 {
				return
			}
		}
	}
}

// Revisions gives the revisions of a service, or of all if it is empty, the newest first.
func (c *Client) Revisions(ctx context.Context, service string) ([]Revision, error) {
	q := url.Values{}
	add(q, "service", service)
	out := new(RevisionList)
	err := c.query(ctx, "/v1/revisions", q, out)
	return out.Revisions, err
}

// Revision gives a revision with its manifest, by its id or the unique beginning of it.
func (c *Client) Revision(ctx context.Context, id string) (*RevisionManifest, error) {
	out := new(RevisionManifest)
	return out, c.get(ctx, "/v1/revisions/"+url.PathEscape(id), out)
}

// Tokens gives the tokens without their secrets.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	out := new(TokenList)
	err := c.get(ctx, "/v1/tokens", out)
	return out.Tokens, err
}

// CreateToken makes a token, which is shown this once.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (*NewToken, error) {
	out := new(NewToken)
	return out, c.send(ctx, http.MethodPost, "/v1/tokens", r, out)
}

// RevokeToken ends a token at once.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	return c.send(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(name), nil, nil)
}

func (c *Client) query(ctx context.Context, path string, q url.Values, into any) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return c.get(ctx, path, into)
}

// do asks and gives the answer as it is. The caller closes its body.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Response, error) {
	path, query, _ := strings.Cut(path, "?")
	to := c.base.JoinPath(path)
	if to.RawQuery = query; len(q) > 0 {
		to.RawQuery = q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		if method == http.MethodPut {
			req.Header.Set("Content-Type", "application/octet-stream")
		}
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the node: %w", err)
	}
	return resp, nil
}

// done reads an answer to its end.
func done(resp *http.Response, into any) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("read the node's answer: %w", err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return problemOf(resp, body)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return nil
}
