package cache

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
)

// What of a long list is shown in an account.
const (
	shownTags  = 32
	shownParts = 16
)

// account tells what the store has for a request, and what every rule says of it.
func (t *Transport) account(w *Why, q *inquiry, used *answer) {
	w.tellRequest(t, q)
	w.tellKey(t, q)
	all := t.shelf(q)
	one := subject(all, used)
	w.tellVariants(q, all, one)
	if one != nil {
		w.tellLifetime(one.answer)
		w.tellAge(q, one.answer)
		w.tellStored(q, one.answer)
		w.tellPurges(one)
		w.tellStale(q, one)
	}
	w.tellParts(t, q)
	w.tellFlights(t, q)
}

// shelved is an answer that is stored for a request's key, whoever it is for.
type shelved struct {
	key      Key
	answer   *answer
	fate     fate
	selected bool // by the request's fields
	usable   bool // the transport gives what made it
}

// shelf is all that is stored for a request's key, in its own layer and under it.
func (t *Transport) shelf(q *inquiry) (all []shelved) {
	keys := []Key{q.key}
	if q.key.Overlay != 0 {
		base := q.exact
		base.Overlay = 0
		keys = append(keys, t.store.searches.keyed(base))
	}
	s := t.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range keys {
		for e := range s.ofKey(&k) {
			if e.part {
				continue
			}
			a := s.answerLocked(e)
			f, _ := a.ledger.fate(&k, a)
			all = append(all, shelved{k.clone(), a, f, selected(a.selectors, q.req.Header), t.uses(a)})
		}
	}
	return all
}

// subject is the answer that the account is about: the one that is used, or the
// newest that would have been.
func subject(all []shelved, used *answer) *shelved {
	i := slices.IndexFunc(all, func(s shelved) bool {
		return s.selected && used != nil && (s.answer.body == used.body || s.answer.is(used))
	})
	if i < 0 && used != nil {
		return &shelved{answer: used, selected: true, usable: true}
	}
	if i < 0 {
		i = slices.IndexFunc(all, func(s shelved) bool { return s.selected })
	}
	if i < 0 {
		return nil
	}
	one := all[i]
	if used != nil {
		one.answer = used // as it is seen: one that was purged softly is stale
	}
	return &one
}

func (w *Why) tellRequest(t *Transport, q *inquiry) {
	d := &q.directives
	var words []string
	for _, one := range [...]struct {
		name string
		set  bool
	}{{"no-store", d.noStore}, {"no-cache", d.noCache}, {"only-if-cached", d.onlyIfCached}} {
		if one.set {
			words = append(words, one.name)
		}
	}
	for _, one := range [...]struct {
		name string
		v    delta
	}{{"max-age", d.maxAge}, {"min-fresh", d.minFresh}, {"max-stale", d.maxStale}, {"stale-if-error", d.staleIfError}} {
		if one.v.set {
			words = append(words, one.name+"="+strconv.FormatInt(seconds(one.v.d), 10))
		}
	}
	if len(words) > 0 {
		w.step(Step{Rule: "request", Words: "it says " + strings.Join(words, ", "), Section: "9111 section 5.2.1"})
	}
	if d := t.scope.Policy.IgnoreRequest; len(d) > 0 {
		w.step(Step{Rule: "request", Words: "of requests the policy ignores " + strings.Join(d, ", "), Section: ours})
	}
}

// tellKey says by what the answer is looked up. Values of fields are not shown.
func (w *Why) tellKey(t *Transport, q *inquiry) {
	method := http.MethodGet
	if q.content != nil {
		method = methodQuery
	}
	w.step(Step{Rule: "key", Words: method + " " + q.key.text() + t.fieldsText(&q.key), Section: "9111 section 2"})
	if r := t.keys; r != nil {
		w.step(Step{Rule: "key", Words: r.words(), Section: ours})
	}
	if q.key.variedBy() != "" {
		w.step(Step{Rule: "key", Words: "the answers of this path say which parts of the query they depend on", Section: "No-Vary-Search"})
	}
	if q.key.Overlay != 0 {
		w.step(Step{Rule: "canary", Words: "its revision is on trial: it has an overlay of its own, and reads what is under it where the same made it"})
	}
}

// words are the rules as people read them.
func (r *keyRules) words() string {
	var words []string
	names := func(what string, s *parameterSet) {
		if !s.empty() {
			all := slices.Clone(s.names)
			for _, b := range s.begins {
				all = append(all, b+"*")
			}
			words = append(words, what+" "+strings.Join(all, ", "))
		}
	}
	names("query keeps", &r.keep)
	names("query drops", &r.drop)
	if r.ignore {
		words = append(words, "query ignored")
	}
	if r.sort {
		words = append(words, "query sorted")
	}
	if len(r.headers) > 0 {
		words = append(words, "fields "+strings.Join(r.headers, ", "))
	}
	if len(r.cookies) > 0 {
		words = append(words, "cookies "+strings.Join(r.cookies, ", "))
	}
	return strings.Join(words, "; ")
}

func (w *Why) tellVariants(q *inquiry, all []shelved, one *shelved) {
	if len(all) == 0 {
		return
	}
	by := all[0].answer.selectors
	if one != nil {
		by = one.answer.selectors
	}
	var names []string
	for _, s := range by {
		name := strings.ToLower(s.name)
		switch {
		case selvage.IsCredentialField(s.name): // may be secrets, or is somebody's name
		case len(q.req.Header[s.name]) == 0:
			name += ": none"
		default:
			name += ": " + strings.Join(q.req.Header[s.name], ", ")
		}
		names = append(names, name)
	}
	words := fmt.Sprintf("%d stored", len(all))
	if len(names) > 0 {
		fits := len(slices.DeleteFunc(slices.Clone(all), func(s shelved) bool { return !s.selected }))
		words = fmt.Sprintf("%s: %d of %d stored", strings.Join(names, "; "), fits, len(all))
	}
	w.step(Step{Rule: "variant", Words: words, Section: "9111 section 4.1", Against: one == nil})
	if one != nil && !one.usable {
		w.step(Step{Rule: "revision", Words: "what is stored was made by another revision, or undone: it is not used", Section: ours, Against: true})
	}
}

// words say where an answer's lifetime comes from.
func (from lifetimeSource) words(a *answer) (words, section string) {
	d, field := controlling(a.header, a.surrogate)
	section = "9111 section 4.2.1"
	if d.targeted {
		section = "9213 section 2.2"
	}
	switch from {
	case fromSharedMaxAge:
		return "s-maxage of " + field, section
	case fromMaxAge:
		return "max-age of " + field, section
	case fromExpires:
		return "Expires", section
	case fromNoCache:
		return "no-cache of " + field, "9111 section 5.2.2.4"
	case fromStatusTTL:
		return "the policy's ttl_status: the answer does not say", ours
	case fromTTL:
		return "the policy's ttl: the answer does not say", ours
	case fromHeuristic:
		return "a tenth of the time since Last-Modified: the answer does not say", "9111 section 4.2.2"
	}
	return "", ""
}

func (w *Why) tellLifetime(a *answer) {
	words, section := a.terms.source.words(a)
	w.step(Step{Rule: "lifetime", Words: inSeconds(a.terms.lifetime) + ", " + words, Section: section})
	if a.terms.noCache {
		w.step(Step{Rule: "no-cache", Words: "it is used only once the origin has said that it is still right", Section: "9111 section 5.2.2.4", Against: true})
	}
	if a.terms.immutable {
		w.step(Step{Rule: "immutable", Words: "a wish for a younger one is overlooked while it is fresh", Section: "8246 section 2"})
	}
}

func (w *Why) tellAge(q *inquiry, a *answer) {
	age, ttl := a.terms.age(q.now), a.terms.ttl(q.now)
	words := inSeconds(age)
	if a.terms.initialAge >= time.Second/10 {
		words += ", of which " + inSeconds(a.terms.initialAge) + " when it came"
	}
	w.step(Step{Rule: "age", Words: words, Section: "9111 section 4.2.3"})
	s := Step{Rule: "fresh", Section: "9111 section 4.2", Against: ttl <= 0}
	if ttl > 0 {
		s.Words = tenths(a.terms.lifetime) + " - " + tenths(age) + " = " + inSeconds(ttl) + " left"
	} else {
		s.Words = "no, stale for " + inSeconds(-ttl)
	}
	w.step(s)
}

func (w *Why) tellStored(q *inquiry, a *answer) {
	words := a.terms.received.UTC().Format(time.DateTime) + " UTC, " + inSeconds(q.now.Sub(a.terms.received)) + " ago"
	if a.revision != "" {
		words += ", by revision " + string(a.revision)
	}
	words += ", status " + strconv.Itoa(a.status)
	if a.length >= 0 {
		words += ", " + strconv.FormatInt(a.length, 10) + " bytes"
	}
	w.step(Step{Rule: "stored", Words: words})
	w.tellForms(q, a)
	if len(a.tags) > 0 {
		w.step(Step{Rule: "tags", Words: some(a.tags, shownTags)})
	}
	if len(a.groups) > 0 {
		w.step(Step{Rule: "groups", Words: some(a.groups, shownTags), Section: "9875 section 2"})
	}
}

// some are the first of the names.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return strings.Join(names[:most], " ") + fmt.Sprintf(" and %d more", len(names)-most)
}

func (w *Why) tellForms(q *inquiry, a *answer) {
	if a.forms == nil {
		return
	}
	a.forms.mu.Lock()
	var words []string
	for _, name := range slices.Sorted(maps.Keys(a.forms.byVariant)) {
		switch f := a.forms.byVariant[name]; {
		case f.why != "":
			words = append(words, name+" is not made: "+f.why)
		case f.body != nil && f.body.whole.Load():
			words = append(words, fmt.Sprintf("%s, %d bytes", name, f.body.size))
		default:
			words = append(words, name+" is being made")
		}
	}
	a.forms.mu.Unlock()
	if q.form != "" {
		words = append(words, "the client reads "+q.form)
	}
	if len(words) > 0 {
		w.step(Step{Rule: "coding", Words: strings.Join(words, "; "), Section: "9110 section 12.5.3"})
	}
}

// tellPurges says which purges came after the answer was requested from the origin.
func (w *Why) tellPurges(one *shelved) {
	a, l := one.answer, one.answer.ledger
	if l == nil || one.key == (Key{}) {
		return
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for of, at := range l.touching(&one.key, a) {
		what := of.what
		if of.name != "" {
			what += ":" + of.name
		}
		if at.hard > a.position {
			w.step(Step{Rule: "purge", Words: what + ", hard: it is gone", Section: "the feed of purges", Against: true, Purge: at.hard})
		}
		if at.soft > a.position {
			w.step(Step{
				Rule: "purge", Words: what + ", soft: stale since " + at.softAt.UTC().Format(time.TimeOnly) + " UTC",
				Section: "the feed of purges", Against: true, Purge: at.soft,
			})
		}
	}
	if l.groupEnded(&one.key, a) {
		w.step(Step{Rule: "purge", Words: "an answer of the origin ended its group", Section: "9875 section 3", Against: true})
	}
}

// tellStale says for how long it may be used when it is stale.
func (w *Why) tellStale(q *inquiry, one *shelved) {
	a := one.answer
	term, ttl := &a.terms, a.terms.ttl(q.now)
	if one.fate.gone() {
		w.step(Step{Rule: "stale", Words: "not after a hard purge; a soft one would allow it", Section: "5861 section 3"})
		return
	}
	if term.neverStale {
		w.step(Step{Rule: "stale", Words: "never: the answer says must-revalidate, proxy-revalidate, s-maxage or no-cache", Section: "9111 section 4.2.4"})
		return
	}
	window := func(d time.Duration) string {
		switch {
		case d <= 0:
			return "no"
		case -ttl >= d:
			return "for " + inSeconds(d) + ", which are over"
		}
		return "for " + inSeconds(d) + " after its lifetime"
	}
	w.step(Step{Rule: "stale", Words: "while a new one is fetched: " + window(term.stale.whileRevalidate), Section: "5861 section 3"})
	w.step(Step{Rule: "stale", Words: "where the origin fails: " + window(term.errorWindow(q.directives.staleIfError)), Section: "5861 section 4"})
}

// tellParts says what is stored in parts.
func (w *Why) tellParts(t *Transport, q *inquiry) {
	if !q.found.parts {
		return
	}
	have := t.stitches(q, func(*answer) bool { return true })
	if have.head == nil {
		return
	}
	slices.SortFunc(have.spans, byStart)
	var spans []string
	for _, s := range have.spans {
		spans = append(spans, fmt.Sprintf("%d-%d", s.start, s.end()-1))
	}
	words := fmt.Sprintf("bytes %s of %d are stored", some(spans, shownParts), have.head.length)
	w.step(Step{Rule: "parts", Words: words, Section: "9111 section 3.3"})
}

// tellFlights says what is under way, and what became of the last one.
func (w *Why) tellFlights(t *Transport, q *inquiry) {
	s := &t.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.byKey[q.key]); n > 0 {
		words := strconv.Itoa(n) + " under way for this key: a request that fits waits for one"
		w.step(Step{Rule: "fetches", Words: words, Section: "9111 section 4"})
	}
	if last, ok := s.unstorables.known[t.unstorableHash(q.key, q.traits)]; ok && q.now.Before(last.until) {
		r := reason(details, string(last.why))
		words := "the last answer was not kept for others"
		if r.Words != "" {
			words += ": " + r.Words
		}
		w.step(Step{Rule: "last", Words: words + "; requests do not wait for each other, " + inSeconds(last.until.Sub(q.now)) + " more", Section: r.Section})
	}
}

// inSeconds is a duration as people read it in sums.
func inSeconds(d time.Duration) string { return tenths(d) + " s" }

func tenths(d time.Duration) string {
	return strconv.FormatFloat(d.Round(time.Second/10).Seconds(), 'f', -1, 64)
}
