package completer_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/completer"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// gated is a store whose first statement of outcomes waits.
type gated struct {
	*postgres.Store
	first         sync.Once
	entered, gate chan struct{}
}

func (g *gated) Record(ctx context.Context, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error) {
	g.first.Do(func() {
		close(g.entered)
		<-g.gate
	})
	return g.Store.Record(ctx, by, done)
}

// A publisher may keep its transaction open for as long as it likes. Once that has met a unique job that runs
// it holds the job's key, which the job's outcome has to free.
func TestAnOpenTransactionHoldsUpTheOutcomeOfItsKeyOnly(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	store, err := postgres.Open(t.Context(), dsn, postgres.Config{Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	unique := jobstore.NewJob{Kind: "k", Args: json.RawMessage("{}"), Queue: "q", Priority: 10, Mode: jobstore.Unique, Identifier: "x"}
	plain := unique
	plain.Mode, plain.Identifier = jobstore.Normal, ""
	in, err := store.Insert(t.Context(), []jobstore.NewJob{plain, unique, plain})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	keeper := worker.NewKeeper(store, jobstore.Consumer{Host: "h", Kinds: []string{"k"}, Queues: []string{"q"}, Priorities: []int{10}},
		worker.Beat{TTL: time.Minute}, func() {}, zap.NewNop())
	running.Go(func() { _ = keeper.Run(ctx) })
	term, err := keeper.Term(ctx)
	if err != nil {
		t.Fatal(err)
	}
	by := jobstore.Claimant{Holder: term.Holder, Queues: []string{"q"}, Priorities: []int{10}, Kinds: []string{"k"}, Token: 1}
	got, err := store.Claim(ctx, by, []jobstore.ID{in[0].ID, in[1].ID, in[2].ID})
	if err != nil || len(got.Leases) != 3 {
		t.Fatalf("claimed %+v, %v", got.Leases, err)
	}
	leases := map[jobstore.ID]*jobstore.Lease{}
	for i := range got.Leases {
		leases[got.Leases[i].Job.ID] = &got.Leases[i]
	}

	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.InsertTx(ctx, postgres.Tx(tx), []jobstore.NewJob{unique}); err != nil {
		t.Fatal(err)
	}
	g := &gated{Store: store, entered: make(chan struct{}), gate: make(chan struct{})}
	c := completer.New(completer.Config{Store: g, Flights: 1, Released: func([]jobstore.Ref) {}, Log: zap.NewNop()})
	running.Go(func() { _ = c.Run(ctx) })
	for _, one := range in { // the first leaves alone, the others together behind it
		l := leases[one.ID]
		c.Complete(worker.Work{Term: term, Lease: l}, jobstore.Outcome{ID: one.ID, LeaseNo: l.Job.LeaseNo, State: jobstore.Finished, Mode: l.Job.Mode})
		<-g.entered
	}
	close(g.gate)
	awaitState(t, store, in[2].ID, jobstore.Finished)
	if j, err := store.Get(ctx, in[1].ID); err != nil || j.State != jobstore.Processing {
		t.Errorf("while its key is held the unique job is %s, %v", j.State, err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	awaitState(t, store, in[1].ID, jobstore.Finished)
}

func awaitState(t *testing.T, store *postgres.Store, id jobstore.ID, want jobstore.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		j, err := store.Get(ctx, id)
		if err == nil && j.State == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("job %d is %s, %v; want %s", id, j.State, err, want)
		}
	}
}
