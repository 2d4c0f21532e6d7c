package wire_test

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/test/chaos/wire"
)

// passing notes what passes, and cuts at one moment.
type passing struct {
	mu   sync.Mutex
	seen []string
	cut  string
}

func (p *passing) hook(what string, when wire.Moment) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, what+" "+string(when))
	return what+" "+string(when) != p.cut
}

func (p *passing) read() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// proxied starts a proxy before the server of a URL and returns the URL through it.
func proxied(t *testing.T, raw string, taps func() wire.Tap) (*wire.Proxy, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	p, err := wire.New(u.Host, taps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	u.Host = p.Addr()
	return p, u.String()
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

const insert = "-- warren: insert\nINSERT INTO chaos VALUES ($1)"

// A statement that is cut while it is sent did not happen; one whose reply is lost did.
func TestStatementsAreCutBeforeAndAfterTheyHappen(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	direct := connect(t, dsn)
	if _, err := direct.Exec(t.Context(), "CREATE TABLE chaos (n int)"); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		cut  string
		rows int
		seen []string
	}{
		{"", 1, []string{"insert sending", "insert replied"}},
		{"insert sending", 0, []string{"insert sending"}},
		{"insert replied", 1, []string{"insert sending", "insert replied"}},
	} {
		p := &passing{cut: c.cut}
		_, through := proxied(t, dsn, wire.Postgres(p.hook))
		_, err := connect(t, through).Exec(t.Context(), insert, i)
		if (err != nil) != (c.cut != "") {
			t.Errorf("cut %q: the client heard %v", c.cut, err)
		}
		var rows int
		if err := direct.QueryRow(t.Context(), "SELECT count(*) FROM chaos WHERE n = $1", i).Scan(&rows); err != nil || rows != c.rows {
			t.Errorf("cut %q: %d rows, %v; want %d", c.cut, rows, err, c.rows)
		}
		if seen := p.read(); !slices.Equal(seen, c.seen) {
			t.Errorf("cut %q: saw %q, want %q", c.cut, seen, c.seen)
		}
	}
}

func TestFramesOfABrokerAreSeen(t *testing.T) {
	t.Parallel()
	p := &passing{}
	_, through := proxied(t, testenv.RabbitMQ(t), wire.AMQP(p.hook))
	conn, err := amqp.Dial(through)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	confirm, err := ch.PublishWithDeferredConfirm("", q.Name, false, false, amqp.Publishing{Body: []byte("1")})
	if err != nil || !confirm.Wait() {
		t.Fatal("not confirmed", err)
	}
	if d, ok, err := ch.Get(q.Name, false); err != nil || !ok || d.Ack(false) != nil {
		t.Fatal("nothing to get", err)
	}
	if _, err := ch.QueueDeclarePassive(q.Name, false, true, true, false, nil); err != nil { // after the ack
		t.Fatal(err)
	}
	seen := p.read()
	for _, want := range []string{"publish sending", "publish sent", "confirm sending", "ack sending", "ack sent"} {
		if !slices.Contains(seen, want) {
			t.Errorf("saw %q, want %q among it", seen, want)
		}
	}
}

func TestAProxyStallsRejectsAndCounts(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	p, through := proxied(t, dsn, nil)
	conn := connect(t, through)
	p.Stall(true)
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT 1")
		answered <- err
	}()
	silence := time.NewTimer(200 * time.Millisecond)
	defer silence.Stop()
	select {
	case err := <-answered:
		t.Errorf("an answer through a network that loses everything: %v", err)
	case <-silence.C:
	}
	p.Stall(false)
	if err := <-answered; err != nil {
		t.Errorf("what was held back did not arrive: %v", err)
	}
	p.Reject(true)
	if _, err := pgx.Connect(t.Context(), through); err == nil {
		t.Error("a connection that was to be rejected")
	}
	p.Reject(false)
	connect(t, through)
	if n := p.Dials(); n < 3 || n > 4 { // the driver may dial a second time for one that was rejected
		t.Errorf("%d attempts to connect, want 3 or 4", n)
	}
	p.Cut()
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a connection that was cut still works")
	}
}
