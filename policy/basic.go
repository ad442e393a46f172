package policy

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"github.com/selvage-edge/selvage"
)

// basicAuth is a compiled demand for a name and a password.
type basicAuth struct {
	users     map[string][]byte
	nobody    []byte // a hash that no password has, at the cost of the dearest
	challenge string
	passwords *Passwords
}

// compileBasicAuth asks for a name and a password (RFC 7617).
func compileBasicAuth(scope Scope, rt *selvage.Route) (policy, error) {
	if rt.Access == nil || rt.Access.BasicAuth == nil {
		return policy{}, nil
	}
	in := rt.Access.BasicAuth
	realm := in.Realm
	if realm == "" {
		realm = "restricted"
	}
	if visible(realm) != realm {
		return policy{}, selvage.Errorf(selvage.Invalid, "basic_auth: realm %q: only visible ASCII", realm)
	}
	if len(in.Users) == 0 {
		return policy{}, selvage.Errorf(selvage.Invalid, "basic_auth: no users")
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm)
	b := &basicAuth{
		users:     map[string][]byte{},
		challenge: `Basic realm="` + quoted + `", charset="UTF-8"`,
		passwords: scope.Passwords,
	}
	dearest := bcrypt.MinCost
	for user, hash := range in.Users {
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			return policy{}, selvage.Errorf(selvage.Invalid, "basic_auth: user %q: not a bcrypt hash; make one with htpasswd -nB", user)
		}
		if user == "" || strings.ContainsRune(user, ':') {
			return policy{}, selvage.Errorf(selvage.Invalid, "basic_auth: user %q: a name without a colon", user)
		}
		dearest = max(dearest, cost)
		b.users[user] = []byte(hash)
	}
	b.nobody = hashOfNobody(dearest)
	return policy{request: b.request, look: b.look}, nil
}

// hashOfNobody is a well-formed hash with a random end, made without the work of a real one.
func hashOfNobody(cost int) []byte {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 53)
	rand.Read(b)
	for i := range b {
		b[i] = alphabet[b[i]%64]
	}
	b[21] = 'O' // 22 characters hold 16 bytes: the last has bits to spare, which must be 0
	return append([]byte{'$', '2', 'a', '$', '0' + byte(cost/10), '0' + byte(cost%10), '$'}, b...)
}

func (b *basicAuth) request(x *Exchange) *Answer {
	user, password, ok := credentials(x.In.Header["Authorization"])
	if !ok {
		return b.ask(x, "basic_auth: no credentials")
	}
	hash, known := b.users[user]
	if !known {
		hash = b.nobody
	}
	ok, err := b.passwords.verify(x.In.Context(), user, password, hash)
	switch {
	case errors.Is(err, errPasswordsBusy):
		hit(x, "passwords")
		a := refuse(x, http.StatusServiceUnavailable, "Too many passwords to check. Try again in 1 s.\n", "basic_auth: too many passwords waiting")
		a.Header["Retry-After"] = []string{"1"}
		return a
	case err != nil:
		return refuse(x, http.StatusServiceUnavailable, "The request ended before its password was checked.\n", "basic_auth: "+err.Error())
	case !ok || !known:
		return b.ask(x, "basic_auth: wrong name or password")
	}
	x.Out.Header.Del("Authorization")
	return nil
}

// look asks for credentials where there are none, and takes others for right.
func (b *basicAuth) look(x *Exchange) *Answer {
	if _, _, ok := credentials(x.In.Header["Authorization"]); !ok {
		return b.ask(x, "basic_auth: no credentials")
	}
	x.Out.Header.Del("Authorization")
	return nil
}

func (b *basicAuth) ask(x *Exchange, detail string) *Answer {
	a := refuse(x, http.StatusUnauthorized, "A name and a password are needed for this page.\n", detail)
	a.Header["Www-Authenticate"] = []string{b.challenge}
	return a
}

// credentials reads the values of Authorization. It refuses more than one
// field, and what RFC 7617 does: control characters, and text that is not UTF-8.
func credentials(values []string) (user, password string, ok bool) {
	if len(values) != 1 {
		return "", "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Trim(token, " "))
	if err != nil || !utf8.Valid(raw) {
		return "", "", false
	}
	for _, c := range raw {
		if c < ' ' || c == 0x7f {
			return "", "", false
		}
	}
	return strings.Cut(string(raw), ":")
}
