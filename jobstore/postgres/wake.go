package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// wakeSQL does not wait for the disk: a wake that a crash of the server takes along is of no use after it.
const wakeSQL = `-- warren: wake
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')`

// Wake implements jobstore.Waker. The bands are not sent: whoever listens looks at its own.
func (s *Store) Wake(ctx context.Context, bands []jobstore.Band) error {
	if len(bands) == 0 {
		return nil
	}
	if err := s.exec(ctx, wakeSQL, s.channel()); err != nil {
		return wrap("wake consumers", err)
	}
	return nil
}

func (s *Store) channel() string { return s.schema + "_ready" }

// Listen implements jobstore.Waker, on a connection of its own. It returns when ctx ends or the
// connection is lost; the caller calls it again after a pause.
func (s *Store) Listen(ctx context.Context, wake func()) error {
	if s.pooled {
		return errors.New("there is nothing to listen to behind a transaction pooler; give Config.DirectURL")
	}
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, s.direct.Copy())
	if err != nil {
		return wrap("connect to listen", err)
	}
	defer closeConn(ctx, conn)
	// The channel is the schema's name, which holds letters, digits and underscores only.
	if _, err := conn.Exec(connecting, "LISTEN "+pgx.Identifier{s.channel()}.Sanitize()); err != nil {
		return wrap("listen", err)
	}
	wake() // what was told before is not heard
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("listen: %w", err)
		}
		wake()
	}
}
