package jobstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// Request is a publish that its caller may send again, because the answer did not reach it.
type Request struct {
	// Key is the caller's name for it: 1 to 255 bytes of UTF-8.
	Key string
	// Digest is of what is asked for: a key stands for one request only.
	Digest [sha256.Size]byte
}

// RequestKept is how long a request is remembered, at least.
const RequestKept = 24 * time.Hour

// ErrKeyReused means that the key of a request stands for another one.
var ErrKeyReused = errors.New("the key was used for another request")

// Requester inserts jobs once, however often it is asked to.
type Requester interface {
	// InsertOnce is Insert that remembers its request in the same transaction. A request that was
	// carried out before writes nothing: it returns what the first one came to, and again is true.
	// Of two that come at once, one waits for the other. ErrKeyReused when the digest differs from
	// the first one's. What fails is not remembered.
	InsertOnce(ctx context.Context, r Request, jobs []NewJob) (out []Inserted, again bool, err error)
}
