package warren

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warrenq/warren/internal/seal"
	"github.com/warrenq/warren/jobstore"
)

// KeyRing encrypts and decrypts the args of jobs whose kind is KindOpts.Encrypted. Its first key encrypts,
// every key decrypts. Printed, it shows the names of its keys.
type KeyRing struct{ inner *seal.Ring }

// ParseKeys reads a key ring: NAME:BASE64 each, 32 bytes a key, separated by commas or white space. Its errors
// never show a key.
func ParseKeys(text string) (*KeyRing, error) {
	r, err := seal.Parse(text)
	if err != nil {
		return nil, err
	}
	return &KeyRing{r}, nil
}

// GenerateKey makes a random key with a name (1 to 32 letters, digits, _ and -), as ParseKeys reads it.
func GenerateKey(name string) (string, error) { return seal.Generate(name) }

// Names lists the names of the keys, the one that encrypts first.
func (k *KeyRing) Names() []string { return slices.Clone(k.inner.Names()) }

// String shows the names of the keys.
func (k *KeyRing) String() string { return k.inner.String() }

// GoString shows the names of the keys.
func (k *KeyRing) GoString() string { return k.inner.String() }

func (k *KeyRing) ring() *seal.Ring {
	if k == nil {
		return nil
	}
	return k.inner
}

// keyPatience is how long a job waits that is encrypted with a key this consumer does not have.
const keyPatience = time.Minute

// sealArgs encrypts a job's args. What they are bound to is the kind and the identifier: both are known when
// a job is published, never change, are the same for the next job of a series, and for whatever replaces
// it under its key. A job that has no identifier gets one.
func (r *rules) sealArgs(j *jobstore.NewJob, encrypted bool) error {
	switch {
	case !encrypted && seal.Sealed(j.Args):
		return inField("args", fmt.Errorf("args of kind %s: a first member %q is taken for encrypted args; give it another name", j.Kind, seal.Member))
	case !encrypted:
		return nil
	case r.keys == nil:
		return inField("args", fmt.Errorf("args of kind %s are to be encrypted, and there are no keys; configure keys, as 'warren keys generate' makes them", j.Kind))
	}
	if j.Identifier == "" {
		j.Identifier = "sealed:" + strings.ToLower(rand.Text())
	}
	var err error
	j.Args, err = r.keys.inner.Seal(j.Args, seal.Of{Kind: j.Kind, Identifier: j.Identifier})
	return err
}

// OpenArgs returns a job's args in the clear: those of the row, decrypted if they are encrypted.
func (k *KeyRing) OpenArgs(job *jobstore.Job) (json.RawMessage, error) {
	if !seal.Sealed(job.Args) {
		return job.Args, nil
	}
	return k.ring().Open(job.Args, seal.Of{Kind: job.Kind, Identifier: job.Identifier})
}

// opened gives a handler, and all middleware around it, the args in the clear. The row that hooks and observers
// see keeps them encrypted.
func (k *KeyRing) opened(o KindOpts, next RawHandler) RawHandler {
	return func(ctx context.Context, job *jobstore.Job) error {
		if !seal.Sealed(job.Args) {
			if o.Encrypted && !o.AcceptPlain {
				return Permanent(fmt.Errorf("args of kind %s are not encrypted, which its registration demands: "+
					"publish the job through Warren, or set AcceptPlain (accept_plain) while older jobs are worked off", job.Kind))
			}
			return next(ctx, job)
		}
		args, err := k.OpenArgs(job)
		switch {
		case errors.Is(err, seal.ErrUnknownKey):
			return Wait(keyPatience, fmt.Errorf("args of kind %s: %w", job.Kind, err))
		case err != nil:
			return Permanent(fmt.Errorf("args of kind %s: %w", job.Kind, err))
		}
		row := *job
		row.Args = args
		return next(ctx, &row)
	}
}

// openedFailed gives OnFailed the args in the clear, if they can be opened: that they cannot may be why the job failed.
func (k *KeyRing) openedFailed(next func(context.Context, *jobstore.Job, error)) func(context.Context, *jobstore.Job, error) {
	if next == nil {
		return nil
	}
	return func(ctx context.Context, job *jobstore.Job, failure error) {
		row := *job
		if args, err := k.OpenArgs(job); err == nil {
			row.Args = args
		}
		next(ctx, &row, failure)
	}
}

// Rotated is what RotateKeys did.
type Rotated struct {
	Changed int            `json:"changed"` // args that the first key encrypts now, or would in a dry run
	Current int            `json:"current"` // args that it had encrypted before
	Failed  []jobstore.ID  `json:"failed"`  // jobs whose args no key opens
	Keys    map[string]int `json:"keys"`    // found args by the name of their key
}

// RotateKeys encrypts args anew that another than the first key has encrypted: of all jobs that are
// stored, whatever their state, because every one of them may run again. It goes through them in batches,
// by number, beside consumers and publishers; broken off and called again it goes on. When nothing is
// left to change, and no program publishes with an old key any more, old keys can go. In a dry run it only counts.
// Steps of flows that have not been released are no jobs yet: an old key is needed until flows from its time have ended.
func (c *Client) RotateKeys(ctx context.Context, store jobstore.Resealer, dryRun bool) (Rotated, error) {
	total := Rotated{Keys: map[string]int{}}
	if c.cfg.Keys == nil {
		return total, errors.New("there are no keys; configure them with the new one first")
	}
	for after := jobstore.ID(0); ; {
		page, err := store.Sealed(ctx, after, rotateBatch)
		if err != nil {
			return total, fmt.Errorf("rotate keys, after job %d: %w", after, err)
		}
		changes := c.reseal(page.Args, &total)
		if !dryRun && len(changes) > 0 {
			done, err := store.Reseal(ctx, changes)
			if err != nil {
				return total, fmt.Errorf("rotate keys, after job %d: %w", after, err)
			}
			total.Changed += done
		} else {
			total.Changed += len(changes)
		}
		if page.Last == 0 {
			return total, nil
		}
		after = page.Last
	}
}

// rotateBatch is how many rows are looked at in one statement.
const rotateBatch = 1000

func (c *Client) reseal(found []jobstore.SealedArgs, total *Rotated) []jobstore.Resealed {
	var changes []jobstore.Resealed
	current := c.cfg.Keys.inner.Names()[0]
	for _, f := range found {
		key := seal.KeyOf(f.Args)
		total.Keys[key]++
		if key == current {
			total.Current++
			continue
		}
		of := seal.Of{Kind: f.Kind, Identifier: f.Identifier}
		plain, err := c.cfg.Keys.inner.Open(f.Args, of)
		if err != nil {
			total.Failed = append(total.Failed, f.ID)
			continue
		}
		again, err := c.cfg.Keys.inner.Seal(plain, of)
		if err != nil {
			total.Failed = append(total.Failed, f.ID)
			continue
		}
		changes = append(changes, jobstore.Resealed{ID: f.ID, Old: f.Args, New: again})
	}
	return changes
}
