package cache

import (
	"iter"
	"slices"
)

// Reason is a word that Cache-Status may have (RFC 9211), and what it means.
type Reason struct {
	Word    string
	Words   string
	Section string // of an RFC, with its number; "policy" where the rule is ours
}

// ours is the section of a rule that is no RFC's.
const ours = "policy"

// forwards are the values of fwd (RFC 9211, section 2.2).
var forwards = []Reason{
	{fwdBypass, "the cache keeps out of this request", "9211 section 2.2"},
	{fwdMethod, "answers to this method are not stored, nor given from the store", "9111 section 4"},
	{fwdURIMiss, "nothing that may be used is stored for this URL", "9111 section 2"},
	{fwdVaryMiss, "something is stored for this URL, but not for these request fields", "9111 section 4.1"},
	{fwdRequest, "what is stored is fresh, but the request does not take it", "9111 section 5.2.1"},
	{fwdStale, "what is stored must not be used without asking", "9111 section 4.2.4"},
	{fwdPartial, "a part of what is asked for is stored", "9111 section 3.4"},
}

// details are the values of detail: why the cache keeps out, why something stale is
// given, and why what the origin answered is not stored.
var details = []Reason{
	{bypassBody, "the request has a body, which is not in the key", "9111 section 2"},
	{bypassQuery, "the body of the QUERY is too long to be in the key", ours},
	{bypassUpgrade, "the request asks for another protocol", "9110 section 7.8"},
	{bypassPrecondition, "the request compares itself with what the origin has", "9110 section 13.1"},
	{bypassPass, "who asks wants it past the cache", ours},
	{bypassOverride, "a field of the request may mean another method or path, which is not in the key", ours},

	{passHead, "an answer to HEAD has no content to store", "9110 section 9.3.2"},
	{passRange, "the range is asked for as it is, and its answer not stored", "9111 section 3.3"},
	{passClosing, "the cache is being closed", ours},

	{detailMaxStale, "it is stale, and the request takes it so", "9111 section 5.2.1.2"},
	{detailWhileRevalidate, "it is stale, and a new one is fetched meanwhile", "5861 section 3"},
	{detailIfError, "the origin failed, and what is stored stands in", "5861 section 4"},
	{detailOnlyIfCached, "the request wants no answer but a stored one, and there is none", "9111 section 5.2.1.7"},
	{detailPurged, "what was stored, or was on its way, is purged", "the feed of purges"},

	{string(refuseRequest), "the request forbids to store the answer", "9111 section 5.2.1.5"},
	{string(refuseStatus), "answers with this status are not stored", "9111 section 3"},
	{string(refuseMalformed), "its Cache-Control does not parse", "9111 section 4.2.1"},
	{string(refuseUnknown), "it must be understood, and its status is not known", "9111 section 5.2.2.3"},
	{string(refuseNoStore), "the answer forbids it", "9111 section 5.2.2.5"},
	{string(refusePrivate), "the answer is for one user", "9111 section 5.2.2.7"},
	{string(refuseVary), "no other request can be told to select it", "9111 section 4.1"},
	{string(refuseStream), "it is a stream of events", ours},
	{string(refuseAuthorized), "the request had credentials, and the answer does not say that it is for all", "9111 section 3.5"},
	{string(refuseSetCookie), "it sets a cookie, and does not say that it is for all", ours},
	{string(refuseCookie), "the request had cookies, and the answer does not say how long it is fresh", ours},
	{string(refuseCertificate), "the request came with a client's certificate, and the answer does not say how long it is fresh", ours},
	{string(refuseNoLifetime), "nothing says for how long it is fresh", "9111 section 3"},
	{string(refuseUseless), "it is stale at once, and cannot be asked about", ours},
	{string(refuseTooLarge), "it is larger than max_body", ours},
	{string(refuseSearch), "it varies by other parts of the query than it was asked for by", "No-Vary-Search"},
	{string(refuseOverwhelmed), "there was no room to receive it", ours},
	{string(refuseTags), "it has too many tags", ours},
}

// Reasons are the words of Cache-Status, by parameter: fwd and detail.
func Reasons() iter.Seq2[string, Reason] {
	return func(yield func(string, Reason) bool) {
		for _, r := range forwards {
			if !yield("fwd", r) {
				return
			}
		}
		for _, r := range details {
			if !yield("detail", r) {
				return
			}
		}
	}
}

// reason is a word with its meaning.
func reason(of []Reason, word string) Reason {
	if i := slices.IndexFunc(of, func(r Reason) bool { return r.Word == word }); i >= 0 {
		return of[i]
	}
	return Reason{Word: word}
}
