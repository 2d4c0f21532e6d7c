package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/warrenq/warren/jobstore"
)

// A connection grows at most this old: long enough to cost nothing, short enough that a proxy's
// new addresses are found.
const connLifetime = time.Hour

const closeTimeout = 2 * time.Second

// newPool lends at most size connections made with conf. It connects when they are asked for.
// While the database takes none, b spaces the attempts. A failover is followed by Reset: every connection then leads to the wrong server.
func newPool(ctx context.Context, rawURL string, conf *pgx.ConnConfig, size int, b *brake) (*pgxpool.Pool, error) {
	// Only ParseConfig makes a pool's configuration; what conf has learned replaces its own part.
	pc, err := pgxpool.ParseConfig(rawURL)
	if err != nil { // only pool_… parameters are left to complain about
		return nil, fmt.Errorf("database address: %w: %s", jobstore.ErrInvalid, redact(err.Error(), rawURL))
	}
	pc.ConnConfig = conf.Copy()
	pc.ConnConfig.ConnectTimeout = connectTimeout
	pc.MaxConns, pc.MinConns, pc.MinIdleConns = clamp(size), 0, 0
	pc.MaxConnLifetime = connLifetime
	pc.BeforeConnect, pc.AfterConnect = b.before, b.after
	return pgxpool.NewWithConfig(ctx, pc)
}

// closeConn closes a connection, even after ctx has ended.
func closeConn(ctx context.Context, c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	// The connection is given up either way; its error says nothing that anyone could use.
	_ = c.Close(ctx)
}
