package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/testenv"
)

// plant is an installation in which a test makes faults.
type plant struct {
	person
	t    *testing.T
	dsn  string
	conn *pgx.Conn
	ch   *amqp.Channel
}

func newPlant(t *testing.T, environ ...string) *plant {
	t.Helper()
	dsn, address := testenv.Postgres(t), testenv.RabbitMQ(t)
	p := &plant{t: t, dsn: dsn, person: person{t: t, config: newPerson(t).config}.
		with("DATABASE_URL="+dsn, "AMQP_URL="+address).with(environ...)}
	p.must(cli.Warren, "migrate", "up")
	if len(environ) == 0 {
		p.must(cli.Warren, "topology", "apply")
	}
	var err error
	if p.conn, err = pgx.Connect(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close(context.Background()) })
	conn, err := amqp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if p.ch, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
	if err := p.ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return p
}

// ids runs a statement and returns its numbers.
func (p *plant) ids(query string, args ...any) []int64 {
	p.t.Helper()
	rows, err := p.conn.Query(p.t.Context(), query, args...)
	if err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	return got
}

// rows makes n jobs; columns and values are those of an INSERT.
func (p *plant) rows(n int, columns, values string) []int64 {
	p.t.Helper()
	return p.ids(fmt.Sprintf(`INSERT INTO warren.jobs (kind, queue, priority%s)
		SELECT 'probe', 'default', 10%s FROM generate_series(1, %d) AS n RETURNING id`, columns, values, n))
}

// hint publishes messages of so many numbers.
func (p *plant) hint(queue string, size int, ids []int64) {
	p.t.Helper()
	var confirms []*amqp.DeferredConfirmation
	for part := range slices.Chunk(ids, size) {
		c, err := p.ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{Body: []byte(strings.Trim(fmt.Sprint(part), "[]"))})
		if err != nil {
			p.t.Fatal(err)
		}
		confirms = append(confirms, c)
	}
	for _, c := range confirms {
		if !c.Wait() {
			p.t.Fatal("a message was not confirmed")
		}
	}
}

// discrepancy is a line of the report.
type discrepancy struct {
	Problem, Queue string
	Priority       *int
	Count, Fixed   int
	IDs            []int64
}

// reconcile returns the findings by problem and queue.
func (p *plant) reconcile(code int, args ...string) map[string]discrepancy {
	p.t.Helper()
	out, problems, got := p.run(p.t.Context(), cli.Warren, append([]string{"reconcile", "-o", "json"}, args...)...)
	if got != code {
		p.t.Fatalf("reconcile %v: exit code %d, want %d\n%s%s", args, got, code, out, problems)
	}
	var list []discrepancy
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		p.t.Fatalf("%v in %s", err, out)
	}
	all := map[string]discrepancy{}
	for _, f := range list {
		if f.Count != len(f.IDs) {
			p.t.Errorf("%s counts %d and names %d", f.Problem, f.Count, len(f.IDs))
		}
		all[strings.TrimSpace(f.Problem+" "+f.Queue)] = f
	}
	return all
}

// inQueue are the numbers in a queue, in order. The queue stays as it is.
func (p *plant) inQueue(queue string) (ids []int64) {
	p.t.Helper()
	var last uint64
	for {
		d, ok, err := p.ch.Get(queue, false)
		if err != nil {
			p.t.Fatal(err)
		}
		if !ok {
			break
		}
		last = d.DeliveryTag
		for word := range strings.FieldsSeq(string(d.Body)) {
			var id int64
			if _, err := fmt.Sscan(word, &id); err != nil {
				p.t.Fatalf("%q: %v", d.Body, err)
			}
			ids = append(ids, id)
		}
	}
	if last > 0 {
		if err := p.ch.Nack(last, true, true); err != nil {
			p.t.Fatal(err)
		}
	}
	return ids
}

// Faults of every class are found to the last number, mended, and gone.
func TestReconcile(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	const band, media = "warren.default.p010", "warren.media.p020"
	want := p.break1000(band, media)

	before := p.inQueue(band)
	compare(t, "found", p.reconcile(5), want, 0)
	if after := p.inQueue(band); !slices.Equal(after, before) {
		t.Errorf("looking has changed the queue: %d numbers were in it, now %d, or their order is another", len(before), len(after))
	}
	if out, problems, code := p.run(t.Context(), cli.Warren, "reconcile"); code != 5 || !strings.Contains(out, "and 190 more") || !strings.Contains(problems, "--fix") {
		t.Errorf("as a table: exit code %d\n%s%s", code, out, problems)
	}
	compare(t, "mended", p.reconcile(0, "--fix"), want, 1)
	if again := p.reconcile(0); len(again) != 0 {
		t.Errorf("after mending: %+v", again)
	}
	// What may be claimed is in its queue once, and nothing else is.
	for queue, ready := range map[string]string{
		band: "queue = 'default' AND priority = 10", media: "queue = 'media' AND priority = 20",
	} {
		got := p.inQueue(queue)
		slices.Sort(got)
		if rows := p.ids("SELECT id FROM warren.jobs WHERE state = 'READY' AND " + ready + " ORDER BY id"); !slices.Equal(got, rows) {
			t.Errorf("%s has %d numbers for %d READY jobs", queue, len(got), len(rows))
		}
	}
}

// break1000 makes about a thousand faults, and returns which.
func (p *plant) break1000(band, media string) map[string][]int64 {
	p.t.Helper()
	sound := p.rows(500, "", "")
	p.hint(band, 50, sound)
	running := p.ids(`INSERT INTO warren.consumers (host, pid, expires_at) VALUES ('h', 1, now() + interval '1 h'), ('h', 2, now() - interval '1 min') RETURNING id`)
	lost := p.rows(200, "", "")
	strange := p.ids("INSERT INTO warren.jobs (kind, queue, priority) SELECT 'probe', 'elsewhere', 20 FROM generate_series(1, 7) RETURNING id")
	twice := sound[100:170]
	p.hint(band, 7, twice)
	p.hint(band, 1, twice[:10]) // and ten of them three times
	ended := p.rows(60, ", state, finished_at", ", 'FINISHED', now()")
	later := p.rows(30, ", state, available_at", ", 'SCHEDULED', now() + interval '1 h'")
	held := p.rows(5, ", state, holder, lease_no, attempts", fmt.Sprintf(", 'PROCESSING', %d, 1, 1", running[0]))
	vain := slices.Concat(ended, later, held, []int64{1 << 40, 1<<40 + 1})
	p.hint(band, 8, interleaved(vain, p.rows(40, "", ""))) // good and bad numbers in one message
	p.hint(media, 3, sound[:5])                            // of another band
	orphans := slices.Concat(
		p.rows(11, ", state, holder, lease_no, attempts", fmt.Sprintf(", 'PROCESSING', %d, 1, 1", running[1])),
		p.rows(9, ", state, holder, lease_no, attempts", ", 'PROCESSING', 4711, 1, 1"))
	unguarded := p.rows(3, ", state, holder, lease_no, attempts, serial_group", fmt.Sprintf(", 'PROCESSING', %d, 1, 1, 'open ' || n", running[0]))
	blocked := p.rows(4, ", serial_group", ", 'stuck ' || n")
	p.ids("INSERT INTO warren.job_groups SELECT serial_group, id + 1000000 FROM warren.jobs WHERE serial_group LIKE 'stuck %' RETURNING running_id")
	keys := p.ids("INSERT INTO warren.job_keys SELECT 'probe', 'x' || n, 5000000 + n, NULL FROM generate_series(1, 6) n RETURNING job_id")
	outbox := p.rows(80, ", announce_at", ", now() - interval '1 min'")
	p.hint(band, 50, outbox[:20]) // whose hint is there all the same
	due := p.rows(90, ", state, available_at, created_at", ", 'TEMPORARILY_FAILED', now() - interval '1 min', now() - interval '1 h'")
	var gone []int64
	for _, id := range blocked {
		gone = append(gone, id+1000000)
	}
	return map[string][]int64{
		"row-without-hint default": lost, "row-without-hint elsewhere": strange,
		"duplicate-hint default": twice, "hint-without-row default": vain, "hint-without-row media": sound[:5],
		"processing-without-consumer default": orphans, "member-without-group default": unguarded,
		"group-without-member": gone, "key-without-job": keys, "outbox-overdue default": outbox, "due-not-ready default": due,
		// They come to light when their groups are free.
		"fixed only: row-without-hint default": blocked,
	}
}

func interleaved(a, b []int64) (out []int64) {
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			out = append(out, a[i])
		}
		if i < len(b) {
			out = append(out, b[i])
		}
	}
	return out
}

// compare wants every number of every class, and no other. fixed is 1 when all should be mended.
func compare(t *testing.T, what string, got map[string]discrepancy, want map[string][]int64, fixed int) {
	t.Helper()
	names := map[string]bool{}
	for name := range got {
		names[name] = true
	}
	for name := range want {
		if !strings.HasPrefix(name, "fixed only: ") {
			names[name] = true
		}
	}
	for name := range names {
		ids := slices.Clone(want[name])
		if fixed == 1 {
			ids = append(ids, want["fixed only: "+name]...)
		}
		slices.Sort(ids)
		if f := got[name]; !slices.Equal(f.IDs, ids) || f.Fixed != fixed*len(ids) {
			t.Errorf("%s, %s: %d with %d mended, want %d\n got %v\nwant %v", what, name, len(f.IDs), f.Fixed, len(ids), f.IDs, ids)
		}
	}
}

// Consumers that run meanwhile lose nothing, run nothing twice, and are found at no fault.
func TestReconcileBesideConsumers(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	ledger := filepath.Join(t.TempDir(), "ledger")
	const jobs = 1500
	var lines strings.Builder
	for range jobs {
		fmt.Fprintf(&lines, `{"kind":"probe","args":{"sleep":"5ms","append":%q}}`+"\n", ledger)
	}
	file := filepath.Join(t.TempDir(), "jobs")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 2 {
		wg.Go(func() {
			var out strings.Builder
			if code := p.types(ctx, &out, &out, cli.Consumer, "run", "-c", "2"); code != 0 {
				t.Errorf("the consumer ended with %d: %s", code, out.String())
			}
		})
	}
	p.must(cli.Producer, "import", file)
	var lost []int64 // jobs that nobody announces
	rounds := 0
	deadline := time.Now().Add(3 * time.Minute)
	for p.ids("SELECT count(*) FROM warren.jobs WHERE state <> 'FINISHED'")[0] > 0 || rounds < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("not everything has ended: %v", p.ids("SELECT id FROM warren.jobs WHERE state <> 'FINISHED' LIMIT 10"))
		}
		lost = append(lost, p.ids(`INSERT INTO warren.jobs (kind, queue, priority, args)
			SELECT 'probe', 'default', 20, jsonb_build_object('append', $1::text) FROM generate_series(1, 3) RETURNING id`, ledger)...)
		for _, f := range p.reconcile(0, "--fix") {
			for _, id := range f.IDs {
				if !slices.Contains(lost, id) {
					t.Errorf("%s: job %d is where it should be", f.Problem, id)
				}
			}
		}
		rounds++
	}
	starts := map[string]int{}
	text, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); words[4] == "start" {
			starts[words[0]]++
		}
	}
	for id, n := range starts {
		if n != 1 {
			t.Errorf("job %s started %d times", id, n)
		}
	}
	if len(starts) != jobs+len(lost) {
		t.Errorf("%d jobs have run, want %d", len(starts), jobs+len(lost))
	}
	t.Logf("%d rounds beside %d jobs", rounds, len(starts))
}

// Without a broker rows are compared with each other.
func TestReconcileRowsOnly(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "AMQP_URL=none")
	p.rows(5, "", "")
	due := p.rows(4, ", state, available_at", ", 'WAITING', now() - interval '1 min'")
	orphans := p.rows(3, ", state, holder, lease_no, attempts", ", 'PROCESSING', 4711, 1, 1")
	outbox := p.rows(2, ", announce_at", ", now() - interval '1 min'")
	want := map[string][]int64{
		"due-not-ready default": due, "processing-without-consumer default": orphans, "outbox-overdue default": outbox,
	}
	compare(t, "found", p.reconcile(5), want, 0)
	compare(t, "mended", p.reconcile(0, "--fix"), want, 1)
	compare(t, "left", p.reconcile(0), nil, 0)
	if n := p.ids("SELECT count(*) FROM warren.jobs WHERE state = 'READY'")[0]; n != 14 {
		t.Errorf("%d jobs are READY, want 14", n)
	}
}
