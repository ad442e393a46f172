package policy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/selvage-edge/selvage"
)

// compileRewrite changes the path before the origin sees it. The query stays.
func compileRewrite(_ Scope, rt *selvage.Route) (policy, error) {
	if rt.Rewrite == nil {
		return policy{}, nil
	}
	prefix, to := rt.Rewrite.StripPrefix, rt.Rewrite.Path
	if (prefix == "") == (to == "") {
		return policy{}, selvage.Errorf(selvage.Invalid, "rewrite: either strip_prefix or path")
	}
	if prefix != "" {
		if prefix[0] != '/' {
			return policy{}, selvage.Errorf(selvage.Invalid, "rewrite: strip_prefix %q does not begin with a slash", prefix)
		}
		return policy{request: func(x *Exchange) *Answer { return setPath(x, stripPrefix(x.Path, prefix)) }}, nil
	}
	t, err := newTemplate(to, captures(rt))
	if err == nil {
		err = t.checkLiterals()
	}
	if err == nil && (!t.rooted() || strings.ContainsAny(to, "?#")) {
		err = selvage.Errorf(selvage.Invalid, "%q: a path that begins with a slash, without ? and #", to)
	}
	if err != nil {
		return policy{}, selvage.Errorf(selvage.Invalid, "rewrite: path: %w", err)
	}
	return policy{request: func(x *Exchange) *Answer {
		return setPath(x, string(t.expand(make([]byte, 0, 128), x, pathBytes)))
	}}, nil
}

// stripPrefix cuts whole segments only: /app is no prefix of /apple.
func stripPrefix(path, prefix string) string {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return path
	case rest == "":
		return "/"
	}
	return rest
}

// setPath gives Out a new path. Pieces that were harmless apart may make a
// dot segment together; such a path is not sent on.
func setPath(x *Exchange, path string) *Answer {
	decoded, err := url.PathUnescape(path)
	if err != nil || hasDots(path) {
		return refuse(x, http.StatusBadRequest, "This address leads nowhere.\n", "rewrite: the new path has a dot segment")
	}
	u := x.Out.URL
	u.Path, u.RawPath = decoded, ""
	if u.EscapedPath() != path {
		u.RawPath = path
	}
	return nil
}

func hasDots(path string) bool {
	for s := range strings.SplitSeq(path, "/") {
		if s == "" || len(s) > len("%2e%2e") {
			continue
		}
		s = strings.ReplaceAll(strings.ReplaceAll(s, "%2e", "."), "%2E", ".")
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}
