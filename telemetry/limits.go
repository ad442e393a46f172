package telemetry

// Limits lists the names that the label limit of selvage_limit_hits_total and
// the field limit of the access log can have. A test compares it with the
// sources.
func Limits() []Field {
	return []Field{
		{"head", "a request's head was larger than limits.head: 431"},
		{"target", "a request's target was longer than limits.target: 414"},
		{"fields", "a request had more fields than limits.fields: 431"},
		{"body", "a request's body was larger than limits.body, or than the route's max_body: 413"},
		{"connections", "a connection above limits.connections was closed"},
		{"handshakes", "a TLS handshake had to wait for one of limits.handshakes"},
		{"streams", "an HTTP/2 client began more requests at once than limits.streams, or reset too many"},
		{"deadline_head", "a request's head, or the TLS handshake before it, took longer than deadlines.head: 408 where there was one"},
		{"deadline_body", "the next part of a request's body took longer than deadlines.body: 408"},
		{"deadline_idle", "a connection waited longer than deadlines.idle for its next request and was closed"},
		{"deadline_write", "the client took longer than deadlines.write for the next part of an answer and was cut off"},
		{"deadline_total", "a request and its answer took longer than deadlines.total"},
		{"rate", "a client was above the rate of a route's limit: 429"},
		{"rate_keys", "a limit had more clients at once than it can count; the one that used least made room"},
		{"passwords", "a password could not be checked, since too many were being checked: 503"},
		{"origin_connections", "an endpoint had connections.max connections, and a request had to wait"},
		{"origin_addresses", "a DNS name gave more addresses than are used"},
		{"origin_head", "the head of an origin's answer was too large: 502"},
		{"origin_interim", "an origin sent too many interim answers: 502"},
		{"retry_budget", "a request was not tried again, since too many others were"},
		{"coders", "an answer went out as it was, since limits.coders was lent out to others"},
		{"coders_streams", "an event stream went out as it was, since others hold their half of limits.coders"},
		{"memory", "an answer was not stored, since those being received took too much of cache.memory"},
		{"max_body", "an answer was not stored, since it was larger than the route's cache.max_body"},
		{"variants", "a URL had more stored variants than the 32 that are kept; the oldest went"},
		{"parts", "a URL had more stored parts than the 4096 that are kept; the oldest went"},
		{"query", "the content of a QUERY was too long to tell it from others by, or had trailers, and the request bypassed the cache"},
		{"tags", "an answer named more than 1,024 tags, or more than 16 KiB of them, and was not stored"},
		{"key_rules", "a service had more different rules for cache keys than are known; what was stored by the oldest went"},
		{"forms", "an answer was not compressed for the store, since too many were being"},
		{"ahead", "a slice of a large answer was not fetched before its reader came to it, since too many were"},
		{"refills", "a fetch for what an undone revision had stored waited, since so many were under way"},
		{"refreshes", "a stale answer was not refreshed in the background, since too many were"},
		{"strata", "a rollout was counted in more nodes and routes than are told apart; the others are one"},
		{"cohorts", "a rollout waited for so many requests that its next epoch stayed open until some had ended"},
		{"fingerprints", "a rollout met more different failures than are told apart; the others count as failures alone"},
		{"access_log", "a line of the access log was dropped, since too many waited for the disk"},
	}
}
