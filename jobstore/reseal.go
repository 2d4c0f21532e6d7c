package jobstore

import (
	"context"
	"encoding/json"
)

// SealedMember is the first and only member of args that are encrypted.
const SealedMember = "warren_sealed"

// SealedArgs are the encrypted args of a job, and what they are bound to.
type SealedArgs struct {
	ID         ID
	Kind       string
	Identifier string
	Args       json.RawMessage
}

// SealedPage is a part of the jobs with encrypted args.
type SealedPage struct {
	Args []SealedArgs
	Last ID // where the next page begins; 0 = there are no more jobs
}

// Resealed replaces the args of a job, if they still are what they were.
type Resealed struct {
	ID       ID
	Old, New json.RawMessage
}

// Resealer changes how args are encrypted, whatever the state of their jobs. Nothing else of a row changes: an
// attempt that is under way has its args already.
type Resealer interface {
	// Sealed looks at the limit jobs after a number, and lists those with encrypted args.
	Sealed(ctx context.Context, after ID, limit int) (SealedPage, error)
	// Reseal returns how many jobs had the old args and have the new ones now.
	Reseal(ctx context.Context, changes []Resealed) (int, error)
}
