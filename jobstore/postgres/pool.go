package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// idleCheck is how long a connection may have been idle before it is tried with an empty
// statement, and connLifetime how old it may grow: long enough to cost nothing, short enough
// that a proxy's new addresses are found.
const (
	idleCheck    = 5 * time.Second
	connLifetime = time.Hour
	closeTimeout = 2 * time.Second
)

var errClosed = errors.New("the store is closed")

// pool lends at most size connections, the one used last first. It stands where pgxpool would:
// pgxpool needs puddle, which is not among this module's requirements.
type pool struct {
	dial func(ctx context.Context) (*pgx.Conn, error)
	slot chan struct{} // one token a connection that is lent out

	mu     sync.Mutex
	idle   []*pooled
	era    int // grows with reset; a connection of an older era is closed when it comes back
	closed bool
}

type pooled struct {
	conn  *pgx.Conn
	era   int
	born  time.Time
	since time.Time // idle since
}

func newPool(size int, dial func(ctx context.Context) (*pgx.Conn, error)) *pool {
	return &pool{dial: dial, slot: make(chan struct{}, size)}
}

// acquire lends a connection that answered not long ago. The caller gives it back with release.
func (p *pool) acquire(ctx context.Context) (*pooled, error) {
	select {
	case p.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		c, era, err := p.pop()
		if err != nil {
			<-p.slot
			return nil, err
		}
		if c == nil {
			conn, err := p.dial(ctx)
			if err != nil {
				<-p.slot
				return nil, err
			}
			now := time.Now()
			return &pooled{conn: conn, era: era, born: now, since: now}, nil
		}
		if time.Since(c.born) > connLifetime {
			closeConn(ctx, c.conn)
			continue
		}
		if time.Since(c.since) > idleCheck && c.conn.Ping(ctx) != nil {
			closeConn(ctx, c.conn)
			continue
		}
		return c, nil
	}
}

func (p *pool) pop() (*pooled, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, 0, errClosed
	}
	n := len(p.idle)
	if n == 0 {
		return nil, p.era, nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c, p.era, nil
}

// release takes a connection back, or closes it if it is broken, in a transaction, or of an older era.
func (p *pool) release(ctx context.Context, c *pooled) {
	good := !c.conn.IsClosed() && !c.conn.PgConn().IsBusy() && c.conn.PgConn().TxStatus() == 'I'
	p.mu.Lock()
	good = good && c.era == p.era && !p.closed
	if good {
		c.since = time.Now()
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !good {
		closeConn(ctx, c.conn)
	}
	<-p.slot
}

// reset closes every idle connection, and the lent ones when they come back: after a failover
// they all lead to the wrong server.
func (p *pool) reset(ctx context.Context) {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.era++
	p.mu.Unlock()
	for _, c := range idle {
		closeConn(ctx, c.conn)
	}
}

// close closes what is idle and waits until what is lent has come back.
func (p *pool) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		closeConn(context.Background(), c.conn)
	}
	for range cap(p.slot) {
		p.slot <- struct{}{}
	}
}

// closeConn closes a connection, even after ctx has ended.
func closeConn(ctx context.Context, c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	// The connection is given up either way; its error says nothing that anyone could use.
	_ = c.Close(ctx)
}
