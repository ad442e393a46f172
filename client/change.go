package client

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Change is anything that alters what runs: who, what, when, why, and how it ended.
type Change struct {
	ID      string    `json:"id" example:"c-7" doc:"its name within the tenant"`
	Kind    string    `json:"kind" enum:"revision,local,undo,weight,certificate,purge" doc:"local is a file that the node read by itself"`
	Tenant  string    `json:"tenant"`
	Service string    `json:"service"`
	Who     string    `json:"who" doc:"the name of a token, or the user at the socket"`
	When    time.Time `json:"when"`
	Why     string    `json:"why,omitempty"`
	From    string    `json:"from,omitempty" doc:"the revision that was promoted when it was asked for; empty for a service's first"`
	To      string    `json:"to,omitempty" doc:"the revision"`
	State   string    `json:"state" enum:"preparing,replaying,watching,held,promoted,undone,superseded,refused"`
	Ended   time.Time `json:"ended,omitzero" doc:"when it was promoted, undone, superseded or refused"`
	Words   string    `json:"words,omitempty" doc:"how it stands or ended, in a sentence with its numbers"`
}

// The states of a change and its rollout.
const (
	Preparing  = "preparing"  // nodes compile and warm it
	Replaying  = "replaying"  // recorded requests run on both revisions; no user has seen it
	Watching   = "watching"   // a share of the units gets it
	Held       = "held"       // bad or contradictory evidence, or somebody asked: no step until that changes
	Promoted   = "promoted"   // it is the service's revision; a hold-back or a watch may still go on
	Undone     = "undone"     // for ever
	Superseded = "superseded" // a later change of the service took its place
	Refused    = "refused"    // no user has seen it: it cannot be compiled, or the replay differed
)

// Forgets is what a change of kind purge does, where others say from which revision to
// which they lead.
const Forgets = "forgets what is stored"

// Over says whether a change in this state can still become another.
func Over(state string) bool {
	return state == Promoted || state == Undone || state == Superseded || state == Refused
}

// Submission asks for a change. Its manifest and its blobs were sent before.
type Submission struct {
	Tenant     string `json:"tenant,omitempty" doc:"main if empty"`
	Service    string `json:"service" minLength:"1" maxLength:"63"`
	Kind       string `json:"kind,omitempty" enum:"revision,purge" doc:"revision if empty; purge: all that is stored of the service is forgotten, some of its URLs first"`
	Manifest   string `json:"manifest,omitempty" pattern:"^[0-9a-f]{64}$" doc:"SHA-256 of the manifest, which is a blob; none for a purge"`
	Why        string `json:"why,omitempty" maxLength:"1000"`
	BreakGlass bool   `json:"break_glass,omitempty" doc:"shorter gates; none is left out"`
}

// Rollout is the way of a change through the fleet, as it stands.
type Rollout struct {
	Change     Change        `json:"change"`
	Mode       string        `json:"mode,omitempty" enum:"spreading,quiet" doc:"quiet: too little traffic for gates; half and half, then promoted and watched"`
	BreakGlass bool          `json:"break_glass,omitempty"`
	Hold       string        `json:"hold,omitempty" doc:"who asked to hold it"`
	Began      time.Time     `json:"began,omitzero" doc:"when the canary took its first request"`
	Seconds    float64       `json:"seconds" doc:"since it began, or from its begin to its end"`
	Share      float64       `json:"share" minimum:"0" maximum:"1" doc:"of the units of the POPs in pops"`
	Exposure   float64       `json:"exposure" minimum:"0" maximum:"1" doc:"of the units of all POPs"`
	POPs       []string      `json:"pops,omitempty" doc:"where the canary takes part"`
	Nodes      []RolloutNode `json:"nodes,omitempty"`
	Replay     *Replay       `json:"replay,omitempty" doc:"missing before it was made"`
	Plan       []string      `json:"plan,omitempty" doc:"what is different, in words"`
	Unit       string        `json:"unit,omitempty" doc:"what a making is called here: forwards, runs, requests"`
	Makings    [2]int64      `json:"makings" doc:"of the canary, of the baseline"`
	Indicators []Indicator   `json:"indicators,omitempty" doc:"those with a bad in either arm, the one that says most first"`
	ToUndo     Evidence      `json:"to_undo"`
	Gate       *Gate         `json:"gate,omitempty" doc:"of the next share; missing without a next one"`
	Until      time.Time     `json:"until,omitzero" doc:"of a promoted one: the end of the hold-back or of the watch"`
	Verdict    *Verdict      `json:"verdict,omitempty" doc:"the last one"`
	Receipt    *Receipt      `json:"receipt,omitempty" doc:"once it is over"`
}

// RolloutNode is what one node says of a rollout.
type RolloutNode struct {
	Node  string  `json:"node"`
	POP   string  `json:"pop"`
	State string  `json:"state" enum:"waiting,ready,failed,lost" doc:"lost: it was not heard of for a while"`
	Why   string  `json:"why,omitempty" doc:"of failed"`
	MS    float64 `json:"ms,omitempty" doc:"milliseconds it took to compile and warm"`
}

// Replay is what recorded requests gave on both revisions before any user.
type Replay struct {
	Requests int      `json:"requests"`
	Differ   int      `json:"differ" doc:"the new revision failed where the old one did not"`
	Examples []string `json:"examples,omitempty" doc:"of those that differ, in words"`
}

// Indicator is one way of being bad, as counted in both arms.
type Indicator struct {
	Name     string   `json:"name" example:"origin 5xx"`
	Bad      [2]int64 `json:"bad" doc:"makings of the canary, of the baseline"`
	Evidence float64  `json:"evidence,omitempty" doc:"towards undo, to 1; 0 if it is not told apart"`
}

// Evidence is how much speaks for undoing, as a bet that would be won so many
// times over: 1 is nothing, at the bound the change is undone.
type Evidence struct {
	ToOne float64 `json:"to_one" minimum:"0" doc:"at most 1e18"`
	Bound float64 `json:"bound" doc:"where the change is undone: 1000"`
	Lead  string  `json:"lead,omitempty" doc:"the indicator or fingerprint that says most"`
}

// Gate is what is known towards the next share.
type Gate struct {
	Next    float64 `json:"next" doc:"the share behind it"`
	Epsilon float64 `json:"epsilon" doc:"how much worse a change must be to be kept from it, as a share of makings"`
	ToOne   float64 `json:"to_one" minimum:"0" doc:"evidence that it is not that bad; at most 1e18"`
	Bound   float64 `json:"bound" doc:"where it opens: 50"`
	Open    bool    `json:"open"`
	Waiting string  `json:"waiting,omitempty" doc:"the indicator that it waits for"`
	Makings int64   `json:"makings" doc:"of the canary so far"`
	More    int64   `json:"more" doc:"canary makings that it needs still, as things go; -1: as things go it never opens"`
	Words   string  `json:"words,omitempty" doc:"the same in words"`
}

// Verdict is a judgement with its numbers.
type Verdict struct {
	Word        string    `json:"word" enum:"watching,open,held,undone"`
	When        time.Time `json:"when"`
	Bad         int64     `json:"bad" doc:"makings of the canary that were bad by the leading indicator"`
	Makings     int64     `json:"makings" doc:"of the canary"`
	Baseline    int64     `json:"baseline" doc:"makings of the baseline"`
	Unit        string    `json:"unit,omitempty"`
	Seconds     float64   `json:"seconds" doc:"since the canary took its first request"`
	Lead        string    `json:"lead,omitempty" doc:"the leading indicator"`
	Rate        float64   `json:"rate" doc:"share of the canary's makings that were bad"`
	Base        float64   `json:"base" doc:"share of the baseline's makings that were bad"`
	ToOne       float64   `json:"to_one" doc:"evidence towards undo, at most 1e18"`
	Fingerprint string    `json:"fingerprint,omitempty" doc:"where one convicted"`
	Words       string    `json:"words" doc:"the verdict in a sentence"`
}

// Receipt is how a rollout ended, with what it did to users.
type Receipt struct {
	Outcome     string        `json:"outcome" enum:"promoted,undone,superseded,refused"`
	By          string        `json:"by,omitempty" doc:"verdict, crash, replay, watch, or who asked"`
	Bad         int64         `json:"bad" doc:"makings of the canary that were bad"`
	Makings     int64         `json:"makings" doc:"of the canary"`
	Baseline    int64         `json:"baseline" doc:"makings of the baseline"`
	Unit        string        `json:"unit,omitempty"`
	Lead        string        `json:"lead,omitempty" doc:"the leading indicator"`
	Rate        float64       `json:"rate"`
	Base        float64       `json:"base"`
	ToOne       float64       `json:"to_one,omitempty" doc:"evidence towards undo, at most 1e18"`
	Served      int64         `json:"served" doc:"bad answers that the canary gave, those that do not count as evidence too"`
	Users       int64         `json:"users" doc:"clients that got a bad answer, counted up to a bound"`
	Stored      int64         `json:"stored" doc:"bad answers that were served from a store"`
	Rescued     int64         `json:"rescued" doc:"requests that the old revision answered instead"`
	Where       *Where        `json:"where,omitempty" doc:"where the bad ones were, if there were any"`
	First       *First        `json:"first,omitempty" doc:"the first bad one"`
	Seconds     float64       `json:"seconds" doc:"from the canary's first request to the end"`
	Nodes       []NodeReceipt `json:"nodes,omitempty"`
	Revision    string        `json:"revision" doc:"what runs now"`
	Share       float64       `json:"share" doc:"the greatest that it had, of all POPs' units"`
	Fingerprint string        `json:"fingerprint,omitempty" doc:"where one convicted"`
	Words       string        `json:"words" doc:"all of it in a sentence"`
}

// Where says where the bad ones of a rollout were.
type Where struct {
	POP      string `json:"pop,omitempty"`
	Node     string `json:"node,omitempty"`
	Zone     string `json:"zone,omitempty"`
	Route    string `json:"route,omitempty"`
	Method   string `json:"method,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Network  string `json:"network,omitempty" doc:"of the clients: a /16, or a /32 of IPv6"`
	Device   string `json:"device,omitempty" doc:"of the clients: mobile, tablet, desktop, bot, program"`
	RTT      string `json:"rtt,omitempty" doc:"to the clients, in words"`
	Function string `json:"function,omitempty"`
	Origin   string `json:"origin,omitempty"`
	Status   int    `json:"status,omitempty"`
}

// First is the first bad record of a rollout.
type First struct {
	Record string `json:"record" doc:"its trace id"`
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty" doc:"without the query"`
}

// NodeReceipt says how long a node took to turn to the end of a rollout.
type NodeReceipt struct {
	Node string  `json:"node"`
	POP  string  `json:"pop,omitempty"`
	MS   float64 `json:"ms" doc:"milliseconds from the decision to its being in effect"`
	Late bool    `json:"late,omitempty" doc:"it has not answered yet; ms is nothing"`
}

// Progress is one event of a rollout's stream: what happened, and how it
// stands since. The last one of a stream has an outcome as its event.
type Progress struct {
	Seq     uint64    `json:"seq" doc:"grows by one within a rollout; a repeated one can be left out"`
	Time    time.Time `json:"time"`
	Event   string    `json:"event" enum:"planned,ready,failed,replayed,share,watching,verdict,held,released,promoted,undone,superseded,refused"`
	Words   string    `json:"words,omitempty" doc:"what happened: share 0.6 % pop=fra"`
	Rollout Rollout   `json:"rollout"`
}

// Revision is an immutable version of a service.
type Revision struct {
	ID       string    `json:"id" doc:"the first 16 hexadecimal digits of the manifest's SHA-256"`
	Manifest string    `json:"manifest" doc:"its SHA-256"`
	Tenant   string    `json:"tenant"`
	Service  string    `json:"service"`
	Change   string    `json:"change,omitempty" doc:"the last change that was about it"`
	When     time.Time `json:"when" doc:"of that change"`
	Who      string    `json:"who,omitempty"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes" doc:"of the manifest and the files"`
	State    string    `json:"state" enum:"promoted,canary,old" doc:"promoted is what the service runs on; old is what it can go back to"`
}

// Difference is one thing that a plan would change, by the part of the service
// that it is about and not by lines of text.
type Difference struct {
	Part  string `json:"part" example:"route /*" doc:"service, route NAME, origin NAME …"`
	Sign  string `json:"sign" enum:"added,removed,changed,moved"`
	Words string `json:"words" doc:"now runs function boom"`
	Path  string `json:"path,omitempty" doc:"the place in the file: routes[2].cache.ttl"`
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
}

// Plan is what a submission would change.
type Plan struct {
	Tenant      string       `json:"tenant"`
	Service     string       `json:"service"`
	From        string       `json:"from,omitempty" doc:"the promoted revision; empty for a service's first"`
	To          string       `json:"to"`
	Differences []Difference `json:"differences"`
}

// RevisionManifest is a revision with what it holds.
type RevisionManifest struct {
	Revision
	Contents json.RawMessage `json:"contents" doc:"the manifest: the service, its files by their digests"`
}

// PlanRequest asks what a manifest would change.
type PlanRequest struct {
	Manifest string `json:"manifest" minLength:"2" doc:"a manifest, as text"`
}

// Token is what is known of a token. The token itself is shown once, when it is made.
type Token struct {
	Name    string    `json:"name" doc:"who, in the log of changes"`
	Role    string    `json:"role" enum:"viewer,operator,admin"`
	Tenant  string    `json:"tenant"`
	Created time.Time `json:"created,omitzero"`
	By      string    `json:"by,omitempty" doc:"who made it; node file for those that stand there"`
}

// NewToken is a token that was just made.
type NewToken struct {
	Token
	Secret string `json:"secret" doc:"the token itself: it is not kept and cannot be shown again"`
}

// LogEntry is one entry of the log of changes. Entries are chained: each holds
// the hash of the one before, so that none can be changed, left out or put in
// without all later ones being different.
type LogEntry struct {
	Position uint64    `json:"position" doc:"1, 2, 3 without a hole"`
	Time     time.Time `json:"time" doc:"when it was stored, by the store's clock"`
	Hash     string    `json:"hash" doc:"SHA-256 of entry, byte for byte"`
	// Entry is a [LogFact] as encoding/json writes it: compact, with the characters
	// of HTML escaped. So its bytes survive being part of another document.
	Entry json.RawMessage `json:"entry"`
}

// LogFact is what an entry of the log of changes says.
type LogFact struct {
	Previous string    `json:"previous" doc:"hash of the entry before; empty in the first"`
	Event    string    `json:"event" enum:"submitted,started,step,held,released,break-glass,promoted,undone,superseded,refused,token,pass"`
	When     time.Time `json:"when"`
	Who      string    `json:"who,omitempty" doc:"who asked for this event; empty where the verdict did"`
	Change   Change    `json:"change,omitzero"`
	Verdict  *Verdict  `json:"verdict,omitempty"`
	Receipt  *Receipt  `json:"receipt,omitempty"`
	Words    string    `json:"words,omitempty"`
	// BreakGlass is of a submission.
	BreakGlass bool `json:"break_glass,omitempty"`
}

// Fact reads what the entry says.
func (e LogEntry) Fact() (LogFact, error) {
	var f LogFact
	if err := json.Unmarshal(e.Entry, &f); err != nil {
		return f, fmt.Errorf("log entry %d: %w", e.Position, err)
	}
	return f, nil
}

// LogHash is the hash of an entry's bytes.
func LogHash(entry []byte) string {
	sum := sha256.Sum256(entry)
	return hex.EncodeToString(sum[:])
}

// Chain verifies entries as they come, the oldest first. Its zero value begins
// before the first entry of a log.
type Chain struct {
	Position uint64 // of the last entry
	Hash     string // of the last entry
}

// Next takes the entry that follows. Its error says what is wrong with it; the
// chain then stays where it was.
func (c *Chain) Next(e LogEntry) error {
	f, err := e.Fact()
	switch {
	case err != nil:
		return err
	case e.Position != c.Position+1:
		return fmt.Errorf("log entry %d is missing: after %d comes %d", c.Position+1, c.Position, e.Position)
	case LogHash(e.Entry) != e.Hash:
		return fmt.Errorf("log entry %d was altered: its hash is %s, not %s", e.Position, LogHash(e.Entry), e.Hash)
	case f.Previous != c.Hash:
		return fmt.Errorf("log entry %d does not follow %d: it names the hash %s, not %s", e.Position, c.Position, f.Previous, c.Hash)
	}
	c.Position, c.Hash = e.Position, e.Hash
	return nil
}

// ChangeList is a page of changes.
type ChangeList struct {
	Changes []Change `json:"changes" doc:"the newest first"`
	Next    string   `json:"next,omitempty" doc:"before of the next page; missing on the last one"`
}

// RolloutList is how the services' rollouts stand.
type RolloutList struct {
	Rollouts []Rollout `json:"rollouts" doc:"the last of each service, the newest first"`
}

// RevisionList is the revisions of one or all services.
type RevisionList struct {
	Revisions []Revision `json:"revisions" doc:"the newest first"`
}

// LogPage is a page of the log of changes.
type LogPage struct {
	Entries []LogEntry `json:"entries" doc:"the oldest first; each has the hash of the one before"`
	More    bool       `json:"more" doc:"there are entries behind the last one"`
}

// TokenList is the tokens without their secrets.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name string `json:"name" pattern:"^[a-z0-9-]{1,63}$" doc:"who, in the log of changes"`
	Role string `json:"role" enum:"viewer,operator,admin"`
}

// PassRequest asks for a pass to one arm of a rollout.
type PassRequest struct {
	Arm     string `json:"arm,omitempty" enum:"canary,baseline" doc:"canary if empty"`
	Seconds int    `json:"seconds,omitempty" minimum:"1" maximum:"86400" doc:"how long it is good; an hour without"`
}

// Pass makes requests that carry it meet one arm of a running rollout. They are not
// counted in its judging, and their answers say which arm made them.
type Pass struct {
	Change  string    `json:"change"`
	Service string    `json:"service"`
	Arm     string    `json:"arm"`
	Field   string    `json:"field" doc:"the request field that carries it"`
	Value   string    `json:"value"`
	Until   time.Time `json:"until"`
}

// Reason says why something is asked of a rollout.
type Reason struct {
	Why string `json:"why,omitempty" maxLength:"1000"`
}
