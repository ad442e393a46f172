package origin

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// site is a folder with what a folder may hold, and secrets beside it and in it.
func site(t testing.TB) string {
	t.Helper()
	base := t.TempDir()
	root := filepath.Join(base, "public")
	write := func(name, text string) {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Hour)
		os.Chtimes(path, old, old)
	}
	write("secret.txt", "SECRET")
	write("publicity/secret.txt", "SECRET")
	write("public/.env", "SECRET")
	write("public/.git/config", "SECRET")
	write("public/docs/.hidden", "SECRET")
	write("public/index.html", "<h1>home</h1>")
	write("public/docs/index.html", "<h1>docs</h1>")
	write("public/docs/page.txt", "0123456789")
	write("public/empty/file.bin", "")
	write("public/a b/c%d.css", "body{}")
	write("public/index/index.html/x", "a folder with the name of an index")
	for link, to := range map[string]string{"out": "../secret.txt", "up": "..", "abs": filepath.Join(base, "secret.txt"), "inside": "docs/page.txt", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

func folderPool(t testing.TB, path string) *Pool {
	t.Helper()
	var r Registry
	p, err := r.Acquire(selvage.DefaultTenant, "shop", "web", selvage.Origin{Folder: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Release)
	return p
}

// fetch asks for a target as it would stand in a request.
func fetch(t testing.TB, p *Pool, method, target string, fields ...string) (*http.Response, string) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	req := &http.Request{Method: method, URL: u, Header: make(http.Header)}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	resp.Body.Close()
	return resp, string(body)
}

func TestFilesAreServedByName(t *testing.T) {
	p := folderPool(t, site(t))
	for _, c := range []struct {
		target, body, contentType string
	}{
		{"/", "<h1>home</h1>", "text/html; charset=utf-8"},
		{"/index.html", "<h1>home</h1>", "text/html; charset=utf-8"},
		{"/docs/", "<h1>docs</h1>", "text/html; charset=utf-8"},
		{"/docs/page.txt?v=1", "0123456789", "text/plain; charset=utf-8"},
		{"/docs/p%61ge.txt", "0123456789", "text/plain; charset=utf-8"},
		{"/a%20b/c%25d.css", "body{}", "text/css; charset=utf-8"},
		{"/empty/file.bin", "", "application/octet-stream"},
		{"/inside", "0123456789", "application/octet-stream"},
	} {
		resp, body := fetch(t, p, "GET", c.target)
		if resp.StatusCode != 200 || body != c.body || resp.Header.Get("Content-Type") != c.contentType || resp.ContentLength != int64(len(c.body)) {
			t.Errorf("%s: %s %q, %q, length %d; want 200 %q, %q", c.target, resp.Status, body, resp.Header.Get("Content-Type"), resp.ContentLength, c.body, c.contentType)
		}
		head, nothing := fetch(t, p, "HEAD", c.target)
		if head.StatusCode != 200 || nothing != "" || head.ContentLength != resp.ContentLength || head.Header.Get("ETag") != resp.Header.Get("ETag") {
			t.Errorf("HEAD %s: %s %q, length %d; want as GET without a body", c.target, head.Status, nothing, head.ContentLength)
		}
	}
}

func TestWhatIsHiddenOrOutsideIsNotFound(t *testing.T) {
	p := folderPool(t, site(t))
	for _, target := range []string{
		"/nothing", "/docs/nothing", "/docs/page.txt/", "/docs/page.txt/x", "/empty/", "/index/",
		"/.env", "/.git/config", "/docs/.hidden", "/%2eenv", "/.git/", "/.git",
		"/../secret.txt", "/docs/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/docs/..%2f..%2fsecret.txt",
		"/docs%2fpage.txt", "/docs%2Fpage.txt", "/docs/./page.txt", "/./index.html", "//index.html", "/docs//page.txt", "//", "/docs//",
		"/..\\secret.txt", "/docs%5cpage.txt", "/docs/page.txt%00", "/docs/page.txt%00.html", "/%00", "/docs/page%0a.txt", "/docs/page%7f.txt",
		"/out", "/up/secret.txt", "/up/", "/abs", "/loop", "/pipe", "/../publicity/secret.txt", "/" + strings.Repeat("x", 300),
	} {
		resp, body := fetch(t, p, "GET", target)
		if resp.StatusCode != 404 || strings.Contains(body, "SECRET") {
			t.Errorf("%s: %s %q; want 404", target, resp.Status, body)
		}
	}
}

func TestFolderRedirectsToItsSlash(t *testing.T) {
	p := folderPool(t, site(t))
	for target, want := range map[string]string{"/docs": "./docs/", "/docs?a=b": "./docs/?a=b", "/a%20b": "./a%20b/"} {
		resp, _ := fetch(t, p, "GET", target)
		if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != want {
			t.Errorf("%s: %s to %q; want 308 to %q", target, resp.Status, got, want)
		}
	}
}

func TestOnlyGetAndHeadAreAllowed(t *testing.T) {
	p := folderPool(t, site(t))
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"} {
		resp, _ := fetch(t, p, method, "/index.html")
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s, Allow %q; want 405 and what is allowed", method, resp.Status, resp.Header.Get("Allow"))
		}
	}
}

func TestRangesAndConditions(t *testing.T) {
	p := folderPool(t, site(t))
	whole, _ := fetch(t, p, "GET", "/docs/page.txt")
	tag, modified := whole.Header.Get("ETag"), whole.Header.Get("Last-Modified")
	if tag == "" || strings.HasPrefix(tag, "W/") || modified == "" {
		t.Fatalf("ETag %q, Last-Modified %q; want a strong one and a date", tag, modified)
	}
	for _, c := range []struct {
		name   string
		fields []string
		status int
		body   string
		ranges string
	}{
		{"a range", []string{"Range", "bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		{"the end", []string{"Range", "bytes=-3"}, 206, "789", "bytes 7-9/10"},
		{"an open range", []string{"Range", "bytes=8-"}, 206, "89", "bytes 8-9/10"},
		{"a range too far", []string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
		{"several ranges are ignored", []string{"Range", "bytes=0-1,3-4"}, 200, "0123456789", ""},
		{"another unit is ignored", []string{"Range", "lines=0-1"}, 200, "0123456789", ""},
		{"if it is still the same", []string{"Range", "bytes=0-1", "If-Range", tag}, 206, "01", "bytes 0-1/10"},
		{"if it is not", []string{"Range", "bytes=0-1", "If-Range", `"other"`}, 200, "0123456789", ""},
		{"known by tag", []string{"If-None-Match", tag}, 304, "", ""},
		{"known by weak tag", []string{"If-None-Match", "W/" + tag}, 304, "", ""},
		{"not known", []string{"If-None-Match", `"other"`}, 200, "0123456789", ""},
		{"known by date", []string{"If-Modified-Since", modified}, 304, "", ""},
		{"only if the same", []string{"If-Match", `"other"`}, 412, "", ""},
	} {
		resp, body := fetch(t, p, "GET", "/docs/page.txt", c.fields...)
		if c.status == 416 {
			body = ""
		}
		if resp.StatusCode != c.status || body != c.body || resp.Header.Get("Content-Range") != c.ranges {
			t.Errorf("%s: %s %q, %q; want %d %q, %q", c.name, resp.Status, body, resp.Header.Get("Content-Range"), c.status, c.body, c.ranges)
		}
		if c.status == 206 && resp.ContentLength != int64(len(c.body)) {
			t.Errorf("%s: length %d; want %d", c.name, resp.ContentLength, len(c.body))
		}
	}
	if resp, body := fetch(t, p, "HEAD", "/docs/page.txt", "Range", "bytes=0-1"); resp.StatusCode != 200 || body != "" {
		t.Errorf("range of HEAD: %s %q; want 200", resp.Status, body)
	}
}

func TestFreshFileHasAWeakTag(t *testing.T) {
	root := site(t)
	p := folderPool(t, root)
	if err := os.WriteFile(filepath.Join(root, "new.txt"), []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	resp, _ := fetch(t, p, "GET", "/new.txt")
	if tag := resp.Header.Get("ETag"); !strings.HasPrefix(tag, `W/"`) {
		t.Errorf("ETag %s of a file that may still be written; want a weak one", tag)
	}
}

func TestReplacedFolderIsSeen(t *testing.T) {
	root := site(t)
	link := filepath.Join(t.TempDir(), "current")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	p := folderPool(t, link)
	if _, body := fetch(t, p, "GET", "/"); body != "<h1>home</h1>" {
		t.Errorf("got %q", body)
	}
	next := t.TempDir()
	os.WriteFile(filepath.Join(next, "index.html"), []byte("next"), 0o644)
	os.Remove(link)
	os.Symlink(next, link)
	if _, body := fetch(t, p, "GET", "/"); body != "next" {
		t.Errorf("got %q; want the new folder's", body)
	}
	os.Remove(link)
	_, err := p.RoundTrip(&http.Request{Method: "GET", URL: &url.URL{Path: "/"}})
	wantType(t, err, selvage.DestinationNotFound)
	if s := p.Status()[0]; s.State != StateDown || s.Why == "" {
		t.Errorf("status %+v; want it down", s)
	}
}

func TestLargeFileIsNotHeldInMemory(t *testing.T) {
	root := t.TempDir()
	const size = 256 << 20
	f, err := os.Create(filepath.Join(root, "large.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil { // a hole
		t.Fatal(err)
	}
	f.Close()
	p := folderPool(t, root)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resp, err := p.RoundTrip(&http.Request{Method: "GET", URL: &url.URL{Path: "/large.bin"}, Header: http.Header{}})
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 1<<20))
	resp.Body.Close()
	runtime.ReadMemStats(&after)
	if n != size || err != nil {
		t.Errorf("read %d, %v; want %d", n, err, size)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes were allocated for it", used)
	}
}

func TestFileThatShrinksBreaksTheAnswerOff(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "log.txt")
	if err := os.WriteFile(name, bytes.Repeat([]byte("x"), 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	p := folderPool(t, root)
	resp, err := p.RoundTrip(&http.Request{Method: "GET", URL: &url.URL{Path: "/log.txt"}, Header: http.Header{}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := os.Truncate(name, 50_000); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	wantType(t, err, selvage.ResponseIncomplete)
	if n != 50_000 {
		t.Errorf("%d bytes; want 50000", n)
	}
}

func TestForbiddenFileIsForbidden(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	root := t.TempDir()
	os.WriteFile(filepath.Join(root, "x.txt"), []byte("x"), 0)
	if resp, _ := fetch(t, folderPool(t, root), "GET", "/x.txt"); resp.StatusCode != 403 {
		t.Errorf("%s; want 403", resp.Status)
	}
}

func FuzzFolderNeverLeaves(f *testing.F) {
	root := site(f)
	p := folderPool(f, root)
	for _, seed := range []string{"/", "/docs/page.txt", "/../secret.txt", "/docs/..%2f..%2fsecret.txt", "/%2eenv", "/docs%00", "/up/secret.txt", "/out", "/a%20b/c%25d.css"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" {
			return
		}
		resp, err := p.RoundTrip(&http.Request{Method: "GET", URL: u, Header: http.Header{}})
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || bytes.Contains(body, []byte("SECRET")) {
			t.Fatalf("%q: %s %q, %v", target, resp.Status, body, err)
		}
		if resp.StatusCode == 200 {
			// One name a file: what was served is what the file system has under the decoded path.
			name := filepath.Join(root, filepath.FromSlash(u.Path))
			if strings.HasSuffix(u.Path, "/") {
				name = filepath.Join(name, "index.html")
			}
			want, err := os.ReadFile(name)
			if err != nil || !bytes.Equal(body, want) {
				t.Fatalf("%q: served %q; want %q, %v", target, body, want, err)
			}
		}
	})
}
