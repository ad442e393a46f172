package edgetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing/synctest"
	"time"
)

var originWords = []string{"requests", "connections", "saw", "gone"}

// compileExpectOrigin reads
//
//	NAME requests N | NAME connections N | NAME gone
//	NAME saw METHOD TARGET | NAME saw Name: value | NAME saw no Name
//	NAME saw body TEXT | NAME saw trailer Name: value | NAME saw protocol HTTP/2.0
func compileExpectOrigin(rest string) (func(*player) error, error) {
	name, rest := word(rest)
	verb, rest := word(rest)
	var check func(*Origin) error
	var err error
	switch verb {
	case "requests", "connections":
		want, err := strconv.Atoi(rest)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number of %s", rest, verb)
		}
		count := (*Origin).Requests
		if verb == "connections" {
			count = (*Origin).Connections
		}
		check = func(o *Origin) error {
			if got := count(o); got != want {
				return fmt.Errorf("got  %d %s\n\twant %d", got, verb, want)
			}
			return nil
		}
	case "gone":
		check = func(o *Origin) error {
			return o.check(func(s Seen) error {
				if !s.Gone {
					return errors.New("got  a request that the edge still waits for\n\twant it given up")
				}
				return nil
			})
		}
	case "saw":
		var look func(Seen) error
		look, err = compileSaw(rest)
		check = func(o *Origin) error { return o.check(look) }
	default:
		return nil, unknown("thing to expect of an origin", verb, originWords)
	}
	return func(p *player) error {
		synctest.Wait()
		return p.withOrigin(name, check)
	}, err
}

func (o *Origin) check(look func(Seen) error) error {
	s, ok := o.Last()
	if !ok {
		return fmt.Errorf("origin %s saw no request", o.Name)
	}
	return look(s)
}

func compileSaw(rest string) (func(Seen) error, error) {
	first, more := word(rest)
	switch {
	case first == "body":
		want, err := text(more)
		return func(s Seen) error { return same(string(s.Body), want) }, err
	case first == "protocol":
		return func(s Seen) error { return same(s.Proto, more) }, nil
	case first == "trailer":
		check, err := compileFieldCheck(more, true)
		return func(s Seen) error { return check(s.Trailer) }, err
	case first == "no":
		check, err := compileFieldCheck(more, false)
		return func(s Seen) error { return check(s.Header) }, err
	case strings.ToUpper(first) == first && !strings.HasSuffix(first, ":") && more != "":
		return func(s Seen) error { return same(s.Method+" "+s.Target, rest) }, nil
	}
	check, err := compileFieldCheck(rest, true)
	return func(s Seen) error { return check(s.Header) }, err
}

// compileExpectSeen reads
//
//	log FIELD VALUE | log FIELD matches PATTERN | logs N | metric NAME{label="value"} N
func compileExpectSeen(kind, rest string) (func(*player) error, error) {
	first, more := word(rest)
	switch kind {
	case "logs":
		want, err := strconv.Atoi(first)
		return func(p *player) error {
			if got := len(p.accessLog()); got != want {
				return fmt.Errorf("got  %d lines\n\twant %d", got, want)
			}
			return nil
		}, err
	case "log":
		if more == "" {
			return nil, errors.New("log needs a field and a value: write expect log status 200")
		}
		return compileExpectLog(first, more)
	}
	m := metricName.FindStringSubmatch(rest)
	if m == nil {
		return nil, fmt.Errorf("%q is not a metric and its value: write expect metric selvage_requests_total{service=\"shop\"} 3", rest)
	}
	want, err := strconv.ParseFloat(m[3], 64)
	labels := strings.FieldsFunc(strings.Trim(m[2], "{}"), func(r rune) bool { return r == ',' })
	return func(p *player) error { return p.expectMetric(m[1], labels, want) }, err
}

func compileExpectLog(name, value string) (func(*player) error, error) {
	re, isPattern := strings.CutPrefix(value, "matches ")
	if !isPattern {
		re = "^" + regexp.QuoteMeta(value) + "$"
	}
	pattern, err := regexp.Compile(re)
	return func(p *player) error {
		lines := p.accessLog()
		if len(lines) == 0 {
			return errors.New("got  an empty access log")
		}
		last := lines[len(lines)-1]
		got, ok := lookup(last, name)
		if value == "absent" && !ok {
			return nil
		}
		if !ok || !pattern.MatchString(got) {
			return fmt.Errorf("got  %s %s in %s\n\twant %s", name, got, last, value)
		}
		return nil
	}, err
}

// logDelay is how long an edge may keep a line of its log.
const logDelay = 250 * time.Millisecond

// accessLog is the lines that the edge has written once logDelay has passed.
func (p *player) accessLog() []string {
	time.Sleep(logDelay)
	synctest.Wait()
	b, err := os.ReadFile(filepath.Join(p.dir, "access.log"))
	if err != nil {
		return nil
	}
	var lines []string
	for l := range bytes.Lines(b) {
		lines = append(lines, strings.TrimSpace(string(l)))
	}
	return lines
}

// lookup finds a field of a JSON line by its name, or by a path with dots.
func lookup(line, name string) (string, bool) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return "", false
	}
	if m, ok := v.(map[string]any); ok {
		if flat, ok := m[name]; ok {
			return fmt.Sprint(flat), true
		}
	}
	for part := range strings.SplitSeq(name, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return "", false
		}
		if v, ok = m[part]; !ok {
			return "", false
		}
	}
	return fmt.Sprint(v), true
}

var metricName = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)$`)

// expectMetric adds up the series of a name that have all the labels.
func (p *player) expectMetric(name string, labels []string, want float64) error {
	if err := p.ready(); err != nil {
		return err
	}
	synctest.Wait()
	answer := httptest.NewRecorder()
	p.edge.Metrics().ServeHTTP(answer, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/metrics", nil))
	got, near := 0.0, ""
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := metricName.FindStringSubmatch(lines.Text())
		if m == nil || m[1] != name {
			continue
		}
		near += "\n\t" + lines.Text()
		if !hasLabels(m[2], labels) {
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return fmt.Errorf("metric %s: %w", name, err)
		}
		got += v
	}
	if got != want {
		return fmt.Errorf("got  %s %v, HTTP status %d%s\n\twant %v", name, got, answer.Code, near, want)
	}
	return lines.Err()
}

func hasLabels(series string, labels []string) bool {
	for _, l := range labels {
		if !strings.Contains(series, strings.TrimSpace(l)) {
			return false
		}
	}
	return true
}
