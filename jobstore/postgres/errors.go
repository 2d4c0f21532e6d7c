package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/warrenq/warren/jobstore"
)

// class says what an error means for the caller's next step.
type class int

const (
	other   class = iota
	again         // deadlock or serialization failure: the same statement may succeed right now
	away          // the server is gone, full, read-only or starting: drop the connections, back off
	data          // the data cannot be stored, ever
	refused       // a trigger of the schema says no
	denied        // the role may not
	missing       // the schema is not there, or is another one
)

func classify(err error) class {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) || pgconn.SafeToRetry(err) {
			return away
		}
		return other
	}
	switch code := pg.Code; {
	case code == "40001", code == "40P01":
		return again
	case code == "25006", strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "08"):
		return away
	case code == "23001": // restrict_violation, raised by guard_job
		return refused
	case strings.HasPrefix(code, "22"), strings.HasPrefix(code, "23"), strings.HasPrefix(code, "54"):
		return data
	case code == "42501":
		return denied
	case code == "42P01", code == "42703", code == "42883", code == "3F000":
		return missing
	}
	return other
}

// wrap adds what was being done, and the sentinel that the caller may look for. It is the only
// place that turns a database error into one of package jobstore.
func wrap(doing string, err error) error {
	switch classify(err) {
	case data:
		return fmt.Errorf("%s: %w: %w", doing, jobstore.ErrInvalid, err)
	case refused:
		return fmt.Errorf("%s: %w: %w", doing, jobstore.ErrRefused, err)
	case missing:
		return fmt.Errorf("%s: %w; run 'warren migrate up': %w", doing, jobstore.ErrSchema, err)
	case denied:
		return fmt.Errorf("%s: this database role may not; grant it <schema>_app (or <schema>_owner to migrate): %w", doing, err)
	case other, again, away:
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// attempts is how often a statement is tried when it lost against another transaction.
const attempts = 6

// retried runs fn until it does not fail by a deadlock or a serialization failure any more. The
// pauses grow and are random, so that two that met do not meet again.
func retried(ctx context.Context, fn func() error) error {
	for i := 0; ; i++ {
		err := fn()
		if err == nil || i == attempts-1 || classify(err) != again {
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(5<<i) * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
