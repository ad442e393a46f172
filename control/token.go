package control

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// A token is slv_NAME_ and 256 random bits in hexadecimal digits. Its name is in
// it so that one document is read and one hash compared, and so that a leaked
// one can be recognised.
const (
	tokenPrefix = "slv_"
	secretBytes = 32
	maxTokens   = 1000 // of a tenant
)

// storedToken is the document of a token: collection tokens, by its name. The
// token itself is not in it.
type storedToken struct {
	Role    Role
	Hash    []byte // SHA-256 of the token
	Created time.Time
	By      string
}

func (s *Server) tokens() state.Collection {
	return state.Collection{Tenant: s.tenant(), Name: "tokens"}
}

// storedToken is who has a token that was made here.
func (s *Server) storedToken(ctx context.Context, token string) (caller, error) {
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	name, secret, cut := strings.Cut(rest, "_")
	if !ok || !cut || len(secret) != 2*secretBytes || !isTokenName(name) || s.State == nil {
		return caller{}, errWrongToken
	}
	doc, err := s.State.Documents.Get(ctx, s.tokens().Key(name))
	if selvage.KindOf(err) == selvage.NotFound && err != nil {
		return caller{}, errWrongToken
	}
	var t storedToken
	if err == nil {
		err = json.Unmarshal(doc.Value, &t)
	}
	if err != nil { // why is nothing for whoever has no right token
		s.Log.Warn("a token cannot be looked up", "name", name, "error", err)
		return caller{}, selvage.Errorf(selvage.Unavailable, "tokens cannot be looked up at the moment: come by the socket, or try again")
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], t.Hash) != 1 {
		return caller{}, errWrongToken
	}
	return caller{name, t.Role, s.tenant(), false}, nil
}

func isTokenName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	return name != "" && len(name) <= 63 && strings.Trim(name, letters) == ""
}

func (s *Server) tokenOperations(api huma.API) {
	type list struct{ Body client.TokenList }
	register(api, huma.Operation{
		OperationID: "token-list", Method: http.MethodGet, Path: "/v1/tokens", Summary: "The tokens, without their secrets",
	}, func(ctx context.Context, _ *struct{}) (*list, error) {
		out := new(list)
		var err error
		out.Body.Tokens, err = s.listTokens(ctx)
		return out, err
	})
	type made struct{ Body client.NewToken }
	register(api, huma.Operation{
		OperationID: "token-create", Method: http.MethodPost, Path: "/v1/tokens", DefaultStatus: http.StatusCreated,
		Summary: "Make a token", Description: "The answer has the token itself, which is not kept: it cannot be shown again.",
	}, func(ctx context.Context, in *struct{ Body client.TokenRequest }) (*made, error) {
		t, err := s.createToken(ctx, in.Body)
		return &made{t}, err
	})
	type named struct {
		Name string `path:"name" maxLength:"63"`
	}
	register(api, huma.Operation{
		OperationID: "token-revoke", Method: http.MethodDelete, Path: "/v1/tokens/{name}", Summary: "Revoke a token, at once",
	}, func(ctx context.Context, in *named) (*struct{}, error) { return nil, s.revokeToken(ctx, in.Name) })
}

func (s *Server) listTokens(ctx context.Context) ([]client.Token, error) {
	out := s.nodeFileTokens()
	for doc, err := range s.State.Documents.List(ctx, s.tokens()) {
		if err != nil {
			return nil, fmt.Errorf("list tokens: %w", err)
		}
		var t storedToken
		if err := json.Unmarshal(doc.Value, &t); err != nil {
			return nil, fmt.Errorf("list tokens: %s: %w", doc.Key.ID, err)
		}
		out = append(out, t.info(doc.Key.ID, s.tenant()))
	}
	slices.SortFunc(out, func(a, b client.Token) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (t storedToken) info(name string, tenant selvage.Tenant) client.Token {
	return client.Token{Name: name, Role: string(t.Role), Tenant: string(tenant), Created: t.Created, By: t.By}
}

// createToken makes a token. It stands in the log before it can be used.
func (s *Server) createToken(ctx context.Context, r client.TokenRequest) (client.NewToken, error) {
	if strings.HasPrefix(r.Name, "node-file-") {
		return client.NewToken{}, selvage.Errorf(selvage.Invalid, "token %q: names that begin with node-file- are those of the node file", r.Name)
	}
	have, err := s.listTokens(ctx)
	if err != nil {
		return client.NewToken{}, err
	}
	if len(have) >= maxTokens {
		s.limitHit("tokens")
		return client.NewToken{}, selvage.Errorf(selvage.Unavailable, "there are %d tokens, which is the limit: revoke some", len(have))
	}
	if slices.ContainsFunc(have, func(t client.Token) bool { return t.Name == r.Name }) {
		return client.NewToken{}, errTaken(r.Name)
	}
	var secret [secretBytes]byte
	rand.Read(secret[:]) // never fails
	token := tokenPrefix + r.Name + "_" + hex.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(token))
	t := storedToken{Role(r.Role), sum[:], time.Now().UTC().Truncate(time.Second), whoAsks(ctx).name}
	value, err := json.Marshal(t)
	if err != nil {
		return client.NewToken{}, fmt.Errorf("make token %s: %w", r.Name, err)
	}
	if err := s.recordToken(ctx, "made the token "+r.Name+" with the role "+r.Role); err != nil {
		return client.NewToken{}, err
	}
	_, err = s.State.Documents.Put(ctx, s.tokens().Key(r.Name), value, state.Absent)
	if err != nil && selvage.KindOf(err) == selvage.Conflict {
		return client.NewToken{}, errTaken(r.Name)
	}
	if err != nil {
		return client.NewToken{}, fmt.Errorf("make token %s: %w", r.Name, err)
	}
	return client.NewToken{Token: t.info(r.Name, s.tenant()), Secret: token}, nil
}

func errTaken(name string) error {
	return selvage.Errorf(selvage.Conflict, "there is a token %q already: revoke it, or take another name", name)
}

func (s *Server) revokeToken(ctx context.Context, name string) error {
	if strings.HasPrefix(name, "node-file-") {
		return selvage.Errorf(selvage.Invalid, "%s stands in the node file: take it away there", name)
	}
	if !isTokenName(name) {
		return selvage.Errorf(selvage.NotFound, "there is no token %q", name)
	}
	err := s.State.Documents.Delete(ctx, s.tokens().Key(name), state.Any)
	if err != nil && selvage.KindOf(err) == selvage.NotFound {
		return selvage.Errorf(selvage.NotFound, "there is no token %q", name)
	}
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", name, err)
	}
	return s.recordToken(ctx, "revoked the token "+name)
}

func (s *Server) recordToken(ctx context.Context, words string) error {
	if s.Changes == nil {
		return nil
	}
	return s.Changes.Record(ctx, client.LogFact{Event: "token", When: time.Now(), Who: whoAsks(ctx).name, Words: words})
}
