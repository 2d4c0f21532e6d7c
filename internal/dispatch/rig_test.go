package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/brokertest"
	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

var errAway = errors.New("the database is away")

// diary notes what happens, in order, between a feed, its store and its broker.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) read() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// forget empties the diary.
func (d *diary) forget() {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = nil
}

// subscription writes what is asked of a subscription into the diary.
type subscription struct {
	broker.Subscription
	*diary
	slow time.Duration // to say that it has paused
}

func (s *subscription) Pause(ctx context.Context) error {
	s.write("pause")
	err := s.Subscription.Pause(ctx)
	if s.slow > 0 && worker.Sleep(ctx, s.slow) != nil {
		return context.Cause(ctx)
	}
	return err
}

func (s *subscription) Resume(ctx context.Context) error {
	s.write("resume")
	return s.Subscription.Resume(ctx)
}

func (s *subscription) Ack(ds []broker.Delivery) error {
	for _, d := range ds {
		s.write("ack %v", d.Numbers)
	}
	return s.Subscription.Ack(ds)
}

func (s *subscription) Close() error {
	s.write("close")
	return s.Subscription.Close()
}

// publisher writes what was confirmed into the diary.
type publisher struct {
	broker.Publisher
	*diary
}

func (p publisher) Publish(ctx context.Context, hints []broker.Hint) []error {
	errs := p.Publisher.Publish(ctx, hints)
	for i, h := range hints {
		if errs == nil || errs[i] == nil {
			p.write("confirmed %d %v", h.Priority, h.Numbers)
		} else {
			p.write("not confirmed %d %v", h.Priority, h.Numbers)
		}
	}
	return errs
}

// row is a job; without a holder it is READY.
type row struct {
	priority int
	holder   jobstore.HolderID
	lease    int64
	token    int64
}

// call is one claim.
type call struct {
	by  jobstore.Claimant
	ids []jobstore.ID // of a claim by number
	n   int           // of a claim by order
}

// db is a store of rows. Its answers can be delayed and lost.
type db struct {
	*diary
	dmu    sync.Mutex
	rows   map[jobstore.ID]*row
	calls  []call
	gate   chan struct{}       // each claim waits for a value, if set
	before func(n int) error   // fails claim n without doing it
	lose   func(n int) error   // fails claim n after doing it
	forget bool                // a repeated claim does not return what the lost one granted
	known  [][]jobstore.ID     // what ReleaseUnknown was told
	takes  time.Duration       // each claim takes that long
	cutOff int                 // claims whose context ended
	left   int                 // slots that got no job
	locked map[jobstore.ID]int // so many claims find the row locked
}

func (d *db) Claim(ctx context.Context, by jobstore.Claimant, ids []jobstore.ID) (jobstore.Claimed, error) {
	var c jobstore.Claimed
	d.dmu.Lock()
	for _, id := range ids {
		if d.locked[id] > 0 {
			d.locked[id]--
			c.Busy = append(c.Busy, id)
		}
	}
	d.dmu.Unlock()
	leases, err := d.claim(ctx, call{by: by, ids: slices.Clone(ids)}, func(id jobstore.ID) bool {
		return slices.Contains(ids, id) && !slices.Contains(c.Busy, id)
	})
	for _, l := range leases {
		if l.Job.ID >= 900 { // of a kind that nobody knows
			c.UnknownKind = append(c.UnknownKind, l.Job.ID)
		} else {
			c.Leases = append(c.Leases, l)
		}
	}
	return c, err
}

func (d *db) ClaimNext(ctx context.Context, by jobstore.Claimant, n int) ([]jobstore.Lease, error) {
	return d.claim(ctx, call{by: by, n: n}, func(jobstore.ID) bool { return true })
}

func (d *db) claim(ctx context.Context, c call, wanted func(jobstore.ID) bool) ([]jobstore.Lease, error) {
	d.dmu.Lock()
	d.calls = append(d.calls, c)
	n := len(d.calls)
	gate, before, lose, takes := d.gate, d.before, d.lose, d.takes
	d.dmu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			d.dmu.Lock()
			d.cutOff++
			d.dmu.Unlock()
			return nil, ctx.Err()
		}
	}
	if takes > 0 {
		<-time.After(takes)
	}
	if before != nil {
		if err := before(n); err != nil {
			return nil, err
		}
	}
	leases := d.grant(c, wanted)
	if lose != nil {
		if err := lose(n); err != nil {
			return nil, err
		}
	}
	return leases, nil
}

func (d *db) grant(c call, wanted func(jobstore.ID) bool) []jobstore.Lease {
	d.dmu.Lock()
	defer d.dmu.Unlock()
	var ids []jobstore.ID
	for id, r := range d.rows {
		again := c.by.Again && !d.forget && r.holder == c.by.Holder && r.token == c.by.Token
		if wanted(id) && (r.holder == 0 || again) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b jobstore.ID) int {
		if x, y := d.rows[a].priority, d.rows[b].priority; x != y {
			return x - y
		}
		return int(a - b)
	})
	if c.ids == nil {
		ids = ids[:min(len(ids), c.n)]
	}
	var leases []jobstore.Lease
	for _, id := range ids {
		r := d.rows[id]
		if r.holder == 0 {
			r.lease++
		}
		r.holder, r.token = c.by.Holder, c.by.Token
		leases = append(leases, jobstore.Lease{Job: jobstore.Job{ID: id, Priority: r.priority, LeaseNo: r.lease}})
	}
	if c.ids != nil {
		d.write("claim %v", c.ids)
	} else {
		d.write("claim next %d", c.n)
	}
	return leases
}

func (d *db) ReleaseUnknown(_ context.Context, holder jobstore.HolderID, tokens []int64, known []jobstore.ID) ([]jobstore.Ref, error) {
	d.dmu.Lock()
	defer d.dmu.Unlock()
	d.known = append(d.known, known)
	var refs []jobstore.Ref
	for id, r := range d.rows {
		if r.holder == holder && slices.Contains(tokens, r.token) && !slices.Contains(known, id) {
			r.holder = 0
			refs = append(refs, jobstore.Ref{ID: id})
		}
	}
	return refs, nil
}

// add makes READY rows of one priority.
func (d *db) add(priority int, ids ...jobstore.ID) {
	d.dmu.Lock()
	defer d.dmu.Unlock()
	for _, id := range ids {
		d.rows[id] = &row{priority: priority}
	}
}

func (d *db) set(change func()) {
	d.dmu.Lock()
	defer d.dmu.Unlock()
	change()
}

// seen is a copy of what has happened.
type seen struct {
	known    [][]jobstore.ID
	back     []jobstore.ID // sorted
	released []jobstore.ID
	unknown  int
	cutOff   int
	left     int
}

func (r *rig) seen() seen {
	synctest.Wait()
	r.dmu.Lock()
	defer r.dmu.Unlock()
	return seen{
		known: slices.Clone(r.known), back: slices.Sorted(slices.Values(r.back)), released: slices.Clone(r.released),
		unknown: r.unknown, cutOff: r.cutOff, left: r.left,
	}
}

func (d *db) claims() []call {
	synctest.Wait()
	d.dmu.Lock()
	defer d.dmu.Unlock()
	return slices.Clone(d.calls)
}

// registrar registers everybody and renews everything.
type registrar struct{ n jobstore.HolderID }

func (r *registrar) Register(context.Context, jobstore.Consumer, time.Duration) (jobstore.HolderID, error) {
	r.n++
	return r.n, nil
}

func (r *registrar) Renew(context.Context, jobstore.HolderID, time.Duration) (jobstore.Orders, error) {
	return jobstore.Orders{}, nil
}
func (r *registrar) Deregister(context.Context, jobstore.HolderID) error { return nil }

// rig is a feed over a fake store and, when it has one, the fake broker, in a synctest bubble.
type rig struct {
	*db
	t      *testing.T
	server *brokertest.Server
	broker broker.Broker
	// publisher is what feeds publish by, if it is not the broker; slowPause is how long a pause takes to be confirmed.
	publisher broker.Publisher
	slowPause time.Duration
	keeper    *worker.Keeper
	claim     dispatch.ClaimConfig
	feed      interface {
		worker.Feed
		Run(ctx context.Context) error
	}
	back     []jobstore.ID // handed back
	released []jobstore.ID
	unknown  int
	stop     context.CancelFunc
	done     chan struct{} // closed when the feed's Run has returned
	slots    sync.WaitGroup
	got      chan worker.Work
}

func bubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{
			t: t, db: &db{diary: &diary{}, rows: map[jobstore.ID]*row{}}, server: brokertest.NewServer(),
			keeper: worker.NewKeeper(&registrar{}, jobstore.Consumer{}, worker.Beat{TTL: 80 * time.Second}, func() {}, zap.NewNop()),
			done:   make(chan struct{}), got: make(chan worker.Work, 1000),
		}
		r.broker = r.server.Open()
		ctx, cancel := context.WithCancel(t.Context())
		var around sync.WaitGroup
		around.Go(func() { _ = r.keeper.Run(ctx) })
		around.Go(func() { _ = r.broker.Run(ctx) })
		t.Cleanup(func() { cancel(); around.Wait() })
		r.claim = dispatch.ClaimConfig{
			Store: r.db, Terms: r.keeper, Self: jobstore.Claimant{Host: "here", Queues: []string{"q"}, Priorities: []int{10, 20, 30}}, Log: zap.NewNop(),
			HandBack: r.handBack, UnknownKind: func(n int) { r.set(func() { r.unknown += n }) },
			Released: func(refs []jobstore.Ref) {
				r.set(func() {
					for _, ref := range refs {
						r.released = append(r.released, ref.ID)
					}
				})
			},
		}
		test(r)
	})
}

// handBack does what the completer does with leases that no slot took.
func (r *rig) handBack(works []worker.Work) {
	r.dmu.Lock()
	defer r.dmu.Unlock()
	for _, w := range works {
		id := w.Lease.Job.ID
		r.back = append(r.back, id)
		r.rows[id].holder = 0
		w.Term.Drop(id, w.Lease.Job.LeaseNo)
	}
}

// brokered makes a feed that takes priorities 10 and 20 of queue q, and starts it.
func (r *rig) brokered(prefetch, budget int) {
	r.t.Helper()
	synctest.Wait() // the broker is up
	sub, err := r.broker.Subscribe([]broker.Band{band(10), band(20)}, prefetch)
	if err != nil {
		r.t.Fatal(err)
	}
	out := r.publisher
	if out == nil {
		out = publisher{r.broker, r.diary}
	}
	r.run(dispatch.NewBrokeredFeed(dispatch.BrokeredConfig{
		Claim: r.claim, Subscription: &subscription{Subscription: sub, diary: r.diary, slow: r.slowPause},
		Publisher: out, Budget: budget, Share: 2,
	}))
}

func (r *rig) run(feed interface {
	worker.Feed
	Run(ctx context.Context) error
},
) {
	r.feed = feed
	ctx, cancel := context.WithCancel(r.t.Context())
	r.stop = cancel
	go func() {
		defer close(r.done)
		if err := feed.Run(ctx); err != nil {
			r.t.Errorf("Run = %v", err)
		}
	}()
	r.t.Cleanup(func() { cancel(); <-r.done })
	synctest.Wait()
}

func band(priority int) broker.Band { return broker.Band{Queue: "q", Priority: priority} }

// hint puts rows into the store and a hint for them into the broker.
func (r *rig) hint(priority int, numbers ...int64) {
	r.t.Helper()
	for _, n := range numbers {
		r.add(priority, jobstore.ID(n))
	}
	body, err := broker.FormatBody(numbers)
	if err != nil {
		r.t.Fatal(err)
	}
	r.server.Inject(band(priority), body)
}

// slot asks for one job, as a slot does that is free; what it gets goes to got.
func (r *rig) slot(n int) (leave context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.t.Context())
	for range n {
		r.slots.Go(func() {
			w, err := r.feed.Next(ctx)
			if err != nil {
				r.set(func() { r.left++ })
				return
			}
			r.got <- w
		})
	}
	r.t.Cleanup(func() { cancel(); r.slots.Wait() })
	synctest.Wait()
	return cancel
}

// gets takes what slots have got.
func (r *rig) gets(want ...jobstore.ID) []worker.Work {
	r.t.Helper()
	synctest.Wait()
	var works []worker.Work
	var ids []jobstore.ID
	for len(r.got) > 0 {
		w := <-r.got
		works = append(works, w)
		ids = append(ids, w.Lease.Job.ID)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		r.t.Errorf("the slots got %v, want %v", ids, want)
	}
	return works
}

// says checks the whole diary and empties it.
func (r *rig) says(want ...string) {
	r.t.Helper()
	if got := r.read(); !slices.Equal(got, want) {
		r.t.Errorf("got  %q\nwant %q", got, want)
	}
	r.diary.forget()
}

// term is the living one.
func (r *rig) term() *worker.Term {
	r.t.Helper()
	term, err := r.keeper.Term(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return term
}

func pass(d time.Duration) { <-time.After(d); synctest.Wait() }
