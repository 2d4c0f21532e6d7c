package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/test/chaos/check"
	"github.com/warrenq/warren/test/chaos/wire"
)

// job is one job of a plan.
type job struct {
	tag      string
	kind     string
	args     map[string]any
	group    string
	priority int
	delay    time.Duration
	after    []string // tags of the jobs of its flow that release it
}

func (j *job) opts() warren.PublishOpts {
	return warren.PublishOpts{Identifier: j.tag, SerialGroup: j.group, Priority: &j.priority, Delay: j.delay}
}

func (j *job) item() warren.Item { return warren.Item{Kind: j.kind, Args: j.args, Opts: j.opts()} }

// Kind makes a job warren.Args.
func (j *job) Kind() string { return j.kind }

// MarshalJSON is the job's args.
func (j *job) MarshalJSON() ([]byte, error) { return json.Marshal(j.args) }

// book is what publishers know of their jobs.
type book struct {
	mu   sync.Mutex
	list []check.Publish
}

func (b *book) note(fate check.Fate, jobs ...*job) {
	confirmed := time.Time{}
	if fate == check.Committed {
		confirmed = time.Now()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range jobs {
		b.list = append(b.list, check.Publish{Tag: j.tag, Fate: fate, Confirmed: confirmed, After: j.after})
	}
}

func (b *book) all() []check.Publish {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]check.Publish(nil), b.list...)
}

// committed is how many jobs are known to be committed.
func (b *book) committed() (n int) {
	for _, p := range b.all() {
		if p.Fate == check.Committed {
			n++
		}
	}
	return n
}

// producer publishes by every way there is, over wires that may break.
type producer struct {
	w    *world
	book *book
	rnd  *rand.Rand
	cli  string // the shipped program

	pg     *wire.Proxy
	amqp   []*wire.Proxy // one a node
	store  *postgres.Store
	client *warren.Client
	stop   func()
}

// newProducer starts a client with proxies of its own.
func newProducer(ctx context.Context, w *world, b *book, cli string, seed uint64) *producer {
	p := &producer{w: w, book: b, cli: cli, rnd: rand.New(rand.NewPCG(seed, 1))}
	p.pg = must(wire.New(hostOf(w.dsn), nil))
	for _, node := range w.amqp {
		p.amqp = append(p.amqp, must(wire.New(hostOf(node), nil)))
	}
	p.store = must(postgres.Open(ctx, through(w.dsn, p.pg.Addr()), postgres.Config{MaxConns: 4}))
	broker := must(rabbitmq.Open(rabbitmq.Config{
		URL: p.amqpURL(), Prefix: w.prefix, Heartbeat: 2 * time.Second, Name: "chaos-producer",
	}))
	p.client = must(warren.NewClient(warren.ClientConfig{Store: p.store, Broker: broker, Priorities: []int{10, 20, 30}}))
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.client.Run(running) }() // it ends because it is told to
	ensure(p.client.AwaitRun(ctx))
	p.stop = func() {
		cancel()
		<-ended
		p.store.Close()
		p.pg.Close()
		for _, node := range p.amqp {
			node.Close()
		}
	}
	return p
}

func (p *producer) amqpURL() string {
	var nodes []string
	for i, proxy := range p.amqp {
		nodes = append(nodes, through(p.w.amqp[i], proxy.Addr()))
	}
	return strings.Join(nodes, ",")
}

// callPatience is how long one publishing may take; after that its commit is unknown.
const callPatience = 5 * time.Second

// publish publishes jobs by one of the ways, chosen at random.
func (p *producer) publish(ctx context.Context, jobs []*job) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	ways := []func(context.Context, []*job){p.many, p.many, p.inTx, p.ownTx, p.sql, p.sql}
	if p.cli != "" && len(jobs) >= 10 {
		ways = append(ways, p.imported)
	}
	if len(jobs) >= 6 {
		ways = append(ways, p.flow)
	}
	ways[p.rnd.IntN(len(ways))](ctx, jobs)
}

// flow publishes a batch with a chain of three in it and a callback, which are released when others have ended. A
// member that takes consumers down and is quarantined keeps nothing from going but the rest of its chain.
func (p *producer) flow(ctx context.Context, jobs []*job) {
	last := len(jobs) - 1
	b := warren.Batch("chaos").AllowFailures().AddChain(jobs[0].item(), jobs[1].item(), jobs[2].item()).OnFinish(jobs[last].item())
	jobs[1].after, jobs[2].after = []string{jobs[0].tag}, []string{jobs[1].tag}
	for _, j := range jobs[:last] {
		jobs[last].after = append(jobs[last].after, j.tag)
	}
	for _, j := range jobs[3:last] {
		b.Add(j.item())
	}
	_, err := p.client.PublishFlow(ctx, b)
	p.book.note(fateOf(err), jobs...)
}

func (p *producer) many(ctx context.Context, jobs []*job) {
	items := make([]warren.Item, len(jobs))
	for i, j := range jobs {
		items[i] = j.item()
	}
	_, err := p.client.PublishMany(ctx, items)
	p.book.note(fateOf(err), jobs...)
}

// fateOf is what an error of a publishing that was to commit says: at most that nobody knows.
func fateOf(err error) check.Fate {
	if err == nil {
		return check.Committed
	}
	return check.Maybe
}

var errChanged = errors.New("changed its mind")

// inTx publishes in a transaction of the client's, which rolls back one time in four.
func (p *producer) inTx(ctx context.Context, jobs []*job) {
	change := p.rnd.IntN(4) == 0
	err := p.client.InTx(ctx, func(ctx context.Context, tx *warren.Tx) error {
		for _, j := range jobs {
			if _, err := tx.Publish(ctx, j, j.opts()); err != nil {
				return err
			}
		}
		if change {
			return errChanged
		}
		return nil
	})
	if change {
		p.book.note(check.RolledBack, jobs...)
		return
	}
	p.book.note(fateOf(err), jobs...)
}

// ownTx publishes in a transaction of the caller's.
func (p *producer) ownTx(ctx context.Context, jobs []*job) {
	p.transaction(ctx, jobs, func(ctx context.Context, tx pgx.Tx, j *job) error {
		_, err := p.client.PublishTx(ctx, postgres.Tx(tx), j, j.opts())
		return err
	})
}

// sql publishes as a program in any language does.
func (p *producer) sql(ctx context.Context, jobs []*job) {
	p.transaction(ctx, jobs, func(ctx context.Context, tx pgx.Tx, j *job) error {
		_, err := tx.Exec(ctx, enqueueSQL, j.kind, j.args, j.priority, j.group, j.tag, j.delay)
		return err
	})
}

const enqueueSQL = `SELECT warren.enqueue($1, $2, priority => $3, serial_group => nullif($4, ''), identifier => $5, available_at => now() + $6::interval)`

// transaction publishes jobs in one, on a connection of its own, and rolls back one time in four.
func (p *producer) transaction(ctx context.Context, jobs []*job, each func(context.Context, pgx.Tx, *job) error) {
	change := p.rnd.IntN(4) == 0
	conf := must(pgx.ParseConfig(through(p.w.dsn, p.pg.Addr())))
	conf.DefaultQueryExecMode = pgx.QueryExecModeExec // as behind a transaction pooler
	conn, err := pgx.ConnectConfig(ctx, conf)
	if err != nil {
		p.book.note(check.RolledBack, jobs...) // nothing was ever sent
		return
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what it had to say is known
	tx, err := conn.Begin(ctx)
	for _, j := range jobs {
		if err == nil {
			err = each(ctx, tx, j)
		}
	}
	switch {
	case err != nil: // no COMMIT was ever sent
		p.book.note(check.RolledBack, jobs...)
	case change:
		_ = tx.Rollback(ctx) // whether or not it arrives, nothing commits
		p.book.note(check.RolledBack, jobs...)
	default:
		p.book.note(fateOf(tx.Commit(ctx)), jobs...)
	}
}

// imported publishes by the shipped program.
func (p *producer) imported(ctx context.Context, jobs []*job) {
	var lines strings.Builder
	for _, j := range jobs {
		line := map[string]any{"kind": j.kind, "args": j.args, "priority": j.priority, "identifier": j.tag}
		if j.group != "" {
			line["serial_group"] = j.group
		}
		if j.delay > 0 {
			line["delay"] = j.delay.String()
		}
		lines.Write(must(json.Marshal(line)))
		lines.WriteByte('\n')
	}
	cmd := exec.CommandContext(ctx, p.cli, "import", "-")
	cmd.Dir = p.w.dir
	cmd.Env = []string{
		"DATABASE_URL=" + through(p.w.dsn, p.pg.Addr()), "AMQP_URL=" + p.amqpURL(),
		"WARREN_QUEUE_PREFIX=" + p.w.prefix, "WARREN_PRIORITIES=10,20,30", "HOME=" + p.w.dir,
	}
	cmd.Stdin = strings.NewReader(lines.String())
	p.book.note(fateOf(cmd.Run()), jobs...)
}

// plan draws jobs: a quarter in ten serial groups, three priorities, a sixth longer than a lease (few of
// them in groups, which would only make the run longer), 5 % that fail first, 2 % that panic first, 1 % that ignore
// their context, a tenth delayed.
func plan(rnd *rand.Rand, n int, ledger string, ttl time.Duration) []*job {
	jobs := make([]*job, n)
	for i := range jobs {
		args := map[string]any{"append": ledger, "sleep": (time.Duration(1+rnd.IntN(40)) * time.Millisecond).String()}
		j := &job{tag: fmt.Sprintf("j%05d", i), kind: "probe", args: args, priority: 10 * (1 + rnd.IntN(3))}
		long := 6
		if rnd.IntN(4) == 0 {
			j.group = fmt.Sprintf("g%d", rnd.IntN(10))
			long = 40
		}
		if rnd.IntN(long) == 0 {
			args["sleep"] = (ttl + time.Duration(rnd.IntN(1000))*time.Millisecond).String()
		}
		switch x := rnd.IntN(100); {
		case x < 5:
			args["fail_times"] = 1 + rnd.IntN(2)
		case x < 7:
			j.kind = "panicky"
		case x < 8:
			j.kind = "stubborn"
			args["sleep"] = (3 * ttl / 2).String()
		}
		if rnd.IntN(10) == 0 {
			j.delay = time.Duration(100+rnd.IntN(3000)) * time.Millisecond
		}
		jobs[i] = j
	}
	return jobs
}

// stubborn are the tags of the jobs that ignore their context.
func stubborn(jobs []*job) map[string]bool {
	tags := map[string]bool{}
	for _, j := range jobs {
		if j.kind == "stubborn" {
			tags[j.tag] = true
		}
	}
	return tags
}
