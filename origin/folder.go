package origin

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/selvage-edge/selvage"
)

// folder is an origin of static files. It answers GET and HEAD, conditional
// requests and single ranges (RFC 9110, sections 13 and 14), with the index.html
// of a folder and never a listing. It reads a file while the client takes it.
//
// A file has one name: what is not written as the file system has it is not found,
// and neither is a name that begins with a dot. Symbolic links are followed inside
// the folder only. The folder is opened for every request, so that one which is
// replaced by another, as deployments do, is seen.
type folder struct {
	path string
	name selvage.OriginName
}

// settled is how old a file must be for its entity tag to be strong: a younger one
// may be written again with the same size in the same tick of the file system's
// clock (RFC 9110, section 8.8.2.2, has the same rule for dates).
const settled = 2 * time.Second

func checkFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("open folder: %s is a file", path)
	}
	return nil
}

func (f *folder) status() EndpointStatus {
	s := EndpointStatus{URL: f.path, State: StateIn}
	if err := checkFolder(f.path); err != nil {
		s.State, s.Why = StateDown, err.Error()
	}
	return s
}

// roundTrip answers req. Not to find a file is an answer; an error is what
// the machine has to answer for.
func (f *folder) roundTrip(req *http.Request) (*http.Response, *selvage.ProxyError) {
	a := &fileAnswer{origin: f.name, resp: http.Response{
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Request: req,
	}}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		a.Header().Set("Allow", "GET, HEAD")
		return a.plain(http.StatusMethodNotAllowed), nil
	}
	name, ok := fileName(req.URL)
	if !ok {
		return a.plain(http.StatusNotFound), nil
	}
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return nil, &selvage.ProxyError{Type: fileErrorType(err), Origin: f.name, Err: fmt.Errorf("open folder: %w", err)}
	}
	defer func() { _ = root.Close() }() // it was only read
	file, info, err := openFile(root, name)
	if err == nil && info.IsDir() {
		file.Close()
		if !strings.HasSuffix(req.URL.Path, "/") {
			a.Header().Set("Location", withSlash(req.URL))
			return a.plain(http.StatusPermanentRedirect), nil
		}
		name = path.Join(name, "index.html")
		if file, info, err = openFile(root, name); err == nil && info.IsDir() {
			file.Close()
			err = fs.ErrNotExist
		}
	} else if err == nil && strings.HasSuffix(req.URL.Path, "/") {
		file.Close()
		err = fs.ErrNotExist
	}
	switch {
	case err == nil:
		return a.serve(req, name, file, info), nil
	case outOfMeans(err):
		return nil, &selvage.ProxyError{Type: selvage.ProxyInternalError, Origin: f.name, Err: fmt.Errorf("open file: %w", err)}
	case errors.Is(err, fs.ErrPermission):
		return a.plain(http.StatusForbidden), nil
	}
	return a.plain(http.StatusNotFound), nil
}

// fileName is the name of a URL's file within the folder, "." for the folder
// itself. It refuses all that could mean two files, or one that is hidden: escaped
// slashes, backslashes, control characters, empty segments and those that begin
// with a dot, "." and ".." among them.
func fileName(u *url.URL) (name string, ok bool) {
	if !strings.HasPrefix(u.Path, "/") || strings.ContainsFunc(u.Path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return "", false
	}
	if strings.Count(u.EscapedPath(), "/") != strings.Count(u.Path, "/") {
		return "", false
	}
	name = strings.TrimSuffix(u.Path[1:], "/")
	if name == "" {
		return ".", u.Path == "/"
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment[0] == '.' {
			return "", false
		}
	}
	return name, true
}

// openFile opens a regular file or a folder. It does not wait for the other
// end of a pipe.
func openFile(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// outOfMeans says whether the machine is to blame, and not the name.
func outOfMeans(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EIO)
}

func fileErrorType(err error) selvage.ProxyErrorType {
	if outOfMeans(err) {
		return selvage.ProxyInternalError
	}
	return selvage.DestinationNotFound
}

// withSlash is the address of a folder, relative to the one that was asked for
// without its slash: a route may have rewritten the path, and the client knows its own.
func withSlash(u *url.URL) string {
	to := url.URL{Path: "./" + path.Base(u.Path) + "/", RawQuery: u.RawQuery}
	return to.String()
}

// fileAnswer is the answer that net/http's ServeContent makes. It is the
// ResponseWriter, and where ServeContent would copy the file into it, it keeps the
// file and becomes the answer's body.
type fileAnswer struct {
	resp   http.Response
	origin selvage.OriginName
	text   strings.Builder // of an answer that is not the file
	file   *os.File
	part   io.Reader // what of the file is sent, nil for nothing
	left   int64
}

func (a *fileAnswer) Header() http.Header { return a.resp.Header }

func (a *fileAnswer) WriteHeader(status int) { a.resp.StatusCode = cmp.Or(a.resp.StatusCode, status) }

func (a *fileAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.text.Write(p)
}

// ReadFrom is io.ReaderFrom, which io.CopyN asks first. It takes the part without reading it.
func (a *fileAnswer) ReadFrom(r io.Reader) (int64, error) {
	part, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{a}, r)
	}
	a.part, a.left = part, part.N
	return part.N, nil
}

// serve answers with the file, or a part of it, or what the request's conditions say.
func (a *fileAnswer) serve(req *http.Request, name string, file *os.File, info fs.FileInfo) *http.Response {
	h := a.Header()
	h.Set("Content-Type", contentType(name))
	tag := fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size())
	if time.Since(info.ModTime()) < settled {
		tag = "W/" + tag
	}
	h.Set("ETag", tag)
	http.ServeContent(a, singleRange(req), name, info.ModTime(), file)
	if a.part == nil {
		file.Close()
		return a.finish(req)
	}
	a.file = file
	return a.finish(req)
}

// singleRange is req without a Range that is ignored (RFC 9110, section 14.2):
// of several ranges, of another unit, or of a request that is not a GET.
func singleRange(req *http.Request) *http.Request {
	r, ok := req.Header["Range"]
	if !ok || req.Method == http.MethodGet && len(r) == 1 && strings.HasPrefix(r[0], "bytes=") && !strings.Contains(r[0], ",") {
		return req
	}
	plain := new(http.Request)
	*plain = *req
	plain.Header = req.Header.Clone()
	plain.Header.Del("Range")
	return plain
}

// plain answers with no more than the status.
func (a *fileAnswer) plain(status int) *http.Response {
	a.Header().Set("Content-Type", "text/plain; charset=utf-8")
	a.WriteHeader(status)
	fmt.Fprintf(&a.text, "%d %s\n", status, http.StatusText(status))
	a.Header().Set("Content-Length", strconv.Itoa(a.text.Len()))
	return a.finish(a.resp.Request)
}

func (a *fileAnswer) finish(req *http.Request) *http.Response {
	r := &a.resp
	r.StatusCode = cmp.Or(r.StatusCode, http.StatusOK)
	r.Status = fmt.Sprintf("%d %s", r.StatusCode, http.StatusText(r.StatusCode))
	if n, err := strconv.ParseInt(r.Header.Get("Content-Length"), 10, 64); err == nil {
		r.ContentLength = n
	} else {
		r.ContentLength = int64(a.text.Len())
	}
	switch {
	case a.part != nil && a.left > 0:
		r.Body = a
	case a.text.Len() > 0 && req.Method != http.MethodHead:
		r.Body = io.NopCloser(strings.NewReader(a.text.String()))
	default:
		_ = a.Close() // it was only read
		r.Body = http.NoBody
	}
	return r
}

// Read is io.Reader. A file that became shorter breaks the answer off.
func (a *fileAnswer) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.part.Read(p)
	a.left -= int64(n)
	switch {
	case a.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = &selvage.ProxyError{Type: selvage.ResponseIncomplete, Origin: a.origin, Err: fmt.Errorf("the file became shorter: %w", io.ErrUnexpectedEOF)}
	case err != nil:
		err = &selvage.ProxyError{Type: selvage.ResponseIncomplete, Origin: a.origin, Err: fmt.Errorf("read file: %w", err)}
	}
	return n, err
}

// Close closes the file.
func (a *fileAnswer) Close() error {
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}

// types are the types of what a web site is made of. The system's own table
// would make answers differ from machine to machine.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".json": "application/json",
	".map": "application/json", ".webmanifest": "application/manifest+json", ".xml": "text/xml; charset=utf-8",
	".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".csv": "text/csv; charset=utf-8",
	".ics": "text/calendar; charset=utf-8", ".vtt": "text/vtt; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".avif": "image/avif",
	".ico": "image/vnd.microsoft.icon", ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf",
	".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".wav": "audio/wav", ".mp4": "video/mp4", ".webm": "video/webm",
	".pdf": "application/pdf", ".wasm": "application/wasm", ".zip": "application/zip", ".gz": "application/gzip",
	".rss": "application/rss+xml", ".atom": "application/atom+xml",
}

// contentType is the type of a file by its name. What it holds is not looked
// at: a guess from bytes would let an uploaded picture become a page.
func contentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	return cmp.Or(types[ext], mime.TypeByExtension(ext), "application/octet-stream")
}
