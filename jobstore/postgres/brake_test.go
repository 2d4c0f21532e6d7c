package postgres_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore/postgres"
)

// door is a way to the database that can be shut: then it resets what comes, and counts it.
type door struct {
	listener net.Listener
	shut     atomic.Bool
	knocks   atomic.Int64

	mu   sync.Mutex
	open []net.Conn
}

func newDoor(t *testing.T, upstream string) *door {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			d.knocks.Add(1)
			server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", upstream)
			if d.shut.Load() || err != nil {
				_ = client.Close()
				continue
			}
			d.mu.Lock()
			d.open = append(d.open, client, server)
			d.mu.Unlock()
			all.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
			all.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); d.close(); all.Wait() })
	return d
}

func (d *door) close() {
	d.shut.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.open {
		_ = c.Close()
	}
}

// However many parts of a process want the database, together they knock twice a second at most.
func TestADatabaseThatIsAwayIsNotHammered(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	d := newDoor(t, u.Host)
	u.Host = d.listener.Addr().String()
	s := open(t, u.String(), postgres.Config{})
	migrate(t, s)
	d.close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var parts sync.WaitGroup
	for range 6 {
		parts.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					if _, err := s.Look(ctx); err == nil {
						t.Error("an answer from behind a door that is shut")
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	// Several may be under way before the first has failed; what counts is how it goes on.
	settled := time.NewTimer(time.Second)
	defer settled.Stop()
	<-settled.C
	before, began := d.knocks.Load(), time.Now()
	parts.Wait()
	if n, most := d.knocks.Load()-before, int64(time.Since(began)/(500*time.Millisecond))+2; n > most || n < 2 {
		t.Errorf("%d attempts to connect in %s, want at most %d", n, time.Since(began), most)
	}
	d.shut.Store(false)
	deadline := time.Now().Add(30 * time.Second)
	for _, err = s.Look(t.Context()); err != nil; _, err = s.Look(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatalf("not found again: %v", err)
		}
	}
}
