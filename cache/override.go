package cache

import (
	"context"
	"slices"
	"time"
)

// Override is what whoever makes a request wants of the cache for it, beside what the
// policy and the answer say: a function for one of its fetches. It forbids, and it
// gives a lifetime, but it permits nothing: what the origin says is private or not to
// be stored is neither shared nor stored.
type Override struct {
	// Pass asks the origin and stores nothing.
	Pass bool
	// TTL is how long the answer is fresh, instead of what it says. Nil: as it says.
	TTL *time.Duration
	// StaleWhileRevalidate is as the answer's. Nil: as it says.
	StaleWhileRevalidate *time.Duration
	// Tags are more tags of the answer.
	Tags []string
}

// bypassPass is why an inquiry with [Override.Pass] bypasses the cache.
const bypassPass = "pass"

// WithOverride returns a context that carries what is wanted for its request.
func WithOverride(ctx context.Context, o *Override) context.Context {
	next := asideOf(ctx)
	next.override = o
	return context.WithValue(ctx, asideKey{}, next)
}

// terms is what an answer's directives are with the override.
func (o *Override) terms(d answerDirectives) answerDirectives {
	if o == nil {
		return d
	}
	if o.TTL != nil {
		// Who says s-maxage says that it may be stored for all: that stays.
		d.public = d.public || d.sharedMaxAge.set
		d.sharedMaxAge = delta{}
		d.maxAge = delta{d: cap68(*o.TTL), set: true}
	}
	if o.StaleWhileRevalidate != nil {
		d.staleWhileRevalidate = delta{d: cap68(*o.StaleWhileRevalidate), set: true}
	}
	return d
}

// allTags are the tags of an answer with those of the override, and whether they are too many.
func (o *Override) allTags(x *exchange) (tags []string, tooMany bool) {
	if o == nil || len(o.Tags) == 0 {
		return x.tags, x.manyTags
	}
	tags = append(slices.Clone(x.tags), clones(o.Tags)...)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return tags, x.manyTags || len(tags) > MaxTags
}
