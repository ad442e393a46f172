package fastly

import "strconv"

// Status is what a host function answers.
type Status uint32

// The statuses of the interface.
const (
	OK                Status = 0
	Failed            Status = 1  // anything that has no status of its own
	Invalid           Status = 2  // an argument, or a pointer that leaves the guest's memory
	BadHandle         Status = 3  // not given out, given back, or of another kind
	BufferLength      Status = 4  // the guest's buffer is too small; the length it needs is told
	Unsupported       Status = 5  // not here
	BadAlign          Status = 6  // never answered here: memory is read at any alignment
	HTTPInvalid       Status = 7  // a method, a URI, a field or its name that HTTP does not know
	HTTPUser          Status = 8  // a message that must not be sent, as a final answer of 1xx
	HTTPIncomplete    Status = 9  // a body that ended before its end
	None              Status = 10 // there is nothing, which is not the same as something empty
	HTTPHeadTooLarge  Status = 11 // more fields than a message may have
	HTTPInvalidStatus Status = 12 // never answered here: Invalid is
	LimitExceeded     Status = 13 // of this request or of the store behind
	Again             Status = 14 // not yet, as trailers before the body's end
)

var statusNames = [...]string{
	"ok", "error", "invalid argument", "bad handle", "buffer too small", "unsupported", "bad alignment", "invalid HTTP",
	"HTTP misuse", "incomplete HTTP", "none", "head too large", "invalid HTTP status", "limit exceeded", "again",
}

// String is the status for people.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "status " + strconv.FormatUint(uint64(s), 10)
}

// Error makes a status an error: what the interfaces of this package return
// decides what the guest is told.
func (s Status) Error() string { return s.String() }
