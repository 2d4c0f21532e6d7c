package warren_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// report is a kind that schedules publish.
type report struct {
	For string `json:"for,omitempty"`
}

func (report) Kind() string { return "report" }

// ran are the runs of schedules, by name and tick.
type ran struct {
	mu    sync.Mutex
	times map[string]int
}

func (r *ran) registry() *warren.Registry {
	r.times = map[string]int{}
	registry := &warren.Registry{}
	warren.RegisterFunc(registry, func(_ context.Context, job *warren.Job[report]) error {
		name, tick, ok := warren.TickOf(job.Job)
		if !ok {
			name = "none"
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.times[name+" "+tick.UTC().Format(time.RFC3339)]++
		return nil
	})
	return registry
}

// of lists the ticks of a schedule that ran, in order. A tick that ran n times is there n times.
func (r *ran) of(name string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for run, n := range r.times {
		if tick, ok := strings.CutPrefix(run, name+" "); ok {
			list = append(list, slices.Repeat([]string{tick}, n)...)
		}
	}
	slices.Sort(list)
	return list
}

// Three nodes, one of which goes and one of which comes, run every tick once.
func TestThreeNodesRunATickOnce(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	var runs ran
	registry := runs.registry()
	node := func() *warren.Consumer {
		t.Helper()
		c, err := warren.NewConsumer(warren.ConsumerConfig{
			Store: store, Registry: registry, Sweep: quick(), Log: testLog(t),
			Schedules: []warren.Schedule{{Name: "second", When: warren.Every(time.Second), Args: report{}, CatchUp: new(1000)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := node()
	run(t, first)
	run(t, node())
	run(t, node())
	await(t, "three ticks ran", func() bool { return len(runs.of("second")) >= 3 })
	first.Drain()
	run(t, node())
	await(t, "eight ticks ran", func() bool { return len(runs.of("second")) >= 8 })
	list := runs.of("second")
	last := at(t, list[0])
	for _, tick := range list[1:] {
		if got := at(t, tick); !got.Equal(last.Add(time.Second)) {
			t.Errorf("after the tick of %s ran that of %s: %q", last, got, list)
		} else {
			last = got
		}
	}
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// clock is a store's clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) set(now time.Time) { c.mu.Lock(); defer c.mu.Unlock(); c.now = now }

func newClockStore(t *testing.T, start string) (*sqlite.Store, *clock) {
	t.Helper()
	c := &clock{now: at(t, start)}
	store, err := sqlite.Open(t.Context(), sqlite.Memory, sqlite.Config{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store, c
}

// clockNode is a consumer over a store whose clock jumps: its lease does not end by that, while that of
// the sweep does, so that there are several leaders at once.
func clockNode(t *testing.T, store *sqlite.Store, registry *warren.Registry, schedules ...warren.Schedule) *warren.Consumer {
	t.Helper()
	c, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Registry: registry, Schedules: schedules, Log: testLog(t), NoMemory: true, Retention: jobstore.Retention{},
		Heartbeat: warren.Heartbeat{TTL: 100 * 365 * 24 * time.Hour},
		Sweep:     warren.Sweep{Tick: 5 * time.Millisecond, LeaderTTL: 150 * time.Millisecond, LostHints: time.Minute, Heads: time.Minute, Rescue: time.Minute},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// idle reports whether everything that is due has run, and every schedule has been looked at.
func idle(t *testing.T, store *sqlite.Store) bool {
	t.Helper()
	look, err := store.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := store.List(t.Context(), jobstore.Filter{States: []jobstore.State{jobstore.Ready, jobstore.Processing}, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	return !look.Due && !look.Schedules && len(jobs) == 0
}

// A cron runs once for each of its times over the nights in which clocks are changed, over three nodes that
// all take themselves for the leader now and then.
func TestCronOverAChangeOfClocks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start, end        string
		night, half, span []string
	}{
		"set forward": {
			"2026-03-28T23:50:00Z", "2026-03-30T01:10:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}, // 02:30 does not exist on the 29th
			nil,
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T23:00:00Z", "2026-03-29T23:30:00Z", "2026-03-30T00:00:00Z", "2026-03-30T00:30:00Z", "2026-03-30T01:00:00Z"},
		},
		"set back": {
			"2026-10-24T22:50:00Z", "2026-10-26T02:10:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}, // 02:30 comes twice on the 25th
			nil,
			[]string{"2026-10-24T23:00:00Z", "2026-10-24T23:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z", "2026-10-26T00:00:00Z", "2026-10-26T00:30:00Z", "2026-10-26T01:00:00Z", "2026-10-26T01:30:00Z", "2026-10-26T02:00:00Z"},
		},
	} {
		for now := at(t, c.start).Truncate(30 * time.Minute).Add(30 * time.Minute); !now.After(at(t, c.end)); now = now.Add(30 * time.Minute) {
			c.half = append(c.half, now.Format(time.RFC3339))
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, clock := newClockStore(t, c.start)
			var runs ran
			registry := runs.registry()
			schedules := []warren.Schedule{
				{Name: "night", When: warren.Cron("30 2 * * *"), Zone: "Europe/Berlin", Args: report{}},
				{Name: "half", When: warren.Cron("*/30 * * * *"), Zone: "Europe/Berlin", Args: report{}},
				{Name: "span", When: warren.Every(30*time.Minute).Between("01:00", "03:00"), Zone: "Europe/Berlin", Args: report{}},
			}
			for range 3 {
				run(t, clockNode(t, store, registry, schedules...))
			}
			await(t, "the schedules are declared", func() bool {
				list, _, err := store.Schedules(t.Context())
				return err == nil && len(list) == 3
			})
			for now := at(t, c.start); !now.After(at(t, c.end)); now = now.Add(10 * time.Minute) {
				clock.set(now)
				await(t, "what is due at "+now.String()+" has run", func() bool { return idle(t, store) })
			}
			for name, want := range map[string][]string{"night": c.night, "half": c.half, "span": c.span} {
				if got := runs.of(name); !slices.Equal(got, want) {
					t.Errorf("%s ran at\n%q, want\n%q", name, got, want)
				}
			}
		})
	}
}

// After a time without any node the latest run is made up for, and the others are not; what was missed can
// be seen.
func TestMissedRuns(t *testing.T) {
	t.Parallel()
	store, clock := newClockStore(t, "2026-06-01T09:30:00Z")
	var runs ran
	registry := runs.registry()
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	schedules := client.Schedules(store)
	for name, catchUp := range map[string]*int{"default": nil, "none": new(0), "three": new(3)} {
		if _, err := schedules.Add(t.Context(), warren.Schedule{Name: name, When: warren.Cron("0 * * * *"), Args: report{}, CatchUp: catchUp}); err != nil {
			t.Fatal(err)
		}
	}
	clock.set(at(t, "2026-06-01T15:20:00Z"))
	c := clockNode(t, store, registry)
	run(t, c)
	await(t, "what was missed is made up for", func() bool { return idle(t, store) })
	for name, want := range map[string][]string{
		"default": {"2026-06-01T15:00:00Z"}, "none": nil,
		"three": {"2026-06-01T13:00:00Z", "2026-06-01T14:00:00Z", "2026-06-01T15:00:00Z"},
	} {
		if got := runs.of(name); !slices.Equal(got, want) {
			t.Errorf("%s ran at %q, want %q", name, got, want)
		}
		info, err := schedules.Get(t.Context(), name)
		if err != nil || !info.Next.Equal(at(t, "2026-06-01T16:00:00Z")) || info.State != jobstore.Scheduled || !info.MissedAt.Equal(clock.Now()) {
			t.Errorf("%s is %+v, %v", name, info, err)
		}
	}
	jobs, err := store.List(t.Context(), jobstore.Filter{States: []jobstore.State{jobstore.Cancelled}, Limit: 10})
	if err != nil || len(jobs) != 3 || !strings.Contains(jobs[0].Error, "missed") {
		t.Errorf("the rows of 10:00 are %+v, %v", jobs, err)
	}
}

// declares is what a program with these schedules does when it starts.
func declares(t *testing.T, store warren.ConsumerStore, list ...warren.Schedule) *warren.Schedules {
	t.Helper()
	var runs ran
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: runs.registry()})
	if err != nil {
		t.Fatal(err)
	}
	schedules := client.Schedules(store)
	if err := schedules.Declare(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
	return schedules
}

// An edit at run time holds until the declaration changes; a pause holds even then.
func TestEditsOfDeclaredSchedules(t *testing.T) {
	t.Parallel()
	store, _ := newClockStore(t, "2026-06-01T09:30:00Z")
	daily := warren.Schedule{Name: "s", When: warren.Cron("0 3 * * *"), Args: report{For: "all"}}
	schedules := declares(t, store, daily)
	want := func(when, next string, declared, edited, paused bool) warren.ScheduleInfo {
		t.Helper()
		info, err := schedules.Get(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if info.When.String() != when || next == "" != info.Next.IsZero() || next != "" && !info.Next.Equal(at(t, next)) ||
			info.Declared != declared || info.Edited != edited || info.Paused != paused {
			t.Fatalf("it is %+v", info)
		}
		return info
	}
	before := want("cron 0 3 * * *", "2026-06-02T03:00:00Z", true, false, false)
	declares(t, store, daily)
	if again := want("cron 0 3 * * *", "2026-06-02T03:00:00Z", true, false, false); again.Job != before.Job {
		t.Errorf("declaring it again planted job %d instead of %d", again.Job, before.Job)
	}
	edit := func(change func(*warren.Schedule)) {
		t.Helper()
		if _, err := schedules.Edit(t.Context(), "s", func(s *warren.Schedule) error { change(s); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	edit(func(s *warren.Schedule) { s.When = warren.Cron("0 4 * * *") })
	declares(t, store, daily)
	edited := want("cron 0 4 * * *", "2026-06-02T04:00:00Z", true, true, false)
	if j, err := store.Get(t.Context(), before.Job); err != nil || j.State != jobstore.Cancelled || j.Error != "its schedule was changed" {
		t.Errorf("the row that waited before is %+v, %v", j, err)
	}
	if j, err := store.Get(t.Context(), edited.Job); err != nil || string(j.Args) != `{"for":"all"}` || !slices.Contains(j.Tags, "schedule:s") {
		t.Errorf("the row that waits is %+v, %v", j, err)
	}
	if _, err := schedules.Pause(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	declares(t, store, daily)
	want("cron 0 4 * * *", "", true, true, true)
	daily.When = warren.Every(time.Hour)
	declares(t, store, daily)
	want("every 1h0m0s", "", true, false, true)
	if _, err := schedules.Resume(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	want("every 1h0m0s", "2026-06-01T10:00:00Z", true, false, false)
	if err := schedules.Delete(t.Context(), "s", false); !errors.Is(err, jobstore.ErrRefused) {
		t.Errorf("a declared schedule is deleted: %v", err)
	}
	if err := schedules.Delete(t.Context(), "s", true); err != nil {
		t.Fatal(err)
	}
	if _, err := schedules.Get(t.Context(), "s"); !errors.Is(err, jobstore.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

// Ten programs that start at once, half of them with a newer declaration, leave one row that waits.
func TestDeclaringAtOnce(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			var list []warren.Schedule
			for k := range 5 {
				list = append(list, warren.Schedule{
					Name: fmt.Sprint("s", (k+i)%5), When: warren.Cron(fmt.Sprintf("%d 3 * * *", i%2)), Args: report{},
				})
			}
			declares(t, store, list...)
		})
	}
	wg.Wait()
	waiting, err := store.List(t.Context(), jobstore.Filter{States: []jobstore.State{jobstore.Scheduled}, Limit: 100})
	if err != nil || len(waiting) != 5 {
		t.Errorf("%d rows wait, want 5: %v", len(waiting), err)
	}
}

// Somebody runs a schedule now, besides its ticks, also while it is paused or manual.
func TestRunNow(t *testing.T) {
	t.Parallel()
	store, clock := newClockStore(t, "2026-06-01T09:30:00Z")
	schedules := declares(t, store,
		warren.Schedule{Name: "paused", When: warren.Cron("0 3 * * *"), Paused: true, Args: report{For: "p"}, Opts: warren.PublishOpts{Priority: new(20), Tags: []string{"x"}}},
		warren.Schedule{Name: "manual", When: warren.Manual(), Kind: "report"})
	var ids []jobstore.ID
	for _, name := range []string{"paused", "manual", "manual"} {
		id, err := schedules.Run(t.Context(), name)
		if err != nil || slices.Contains(ids, id) {
			t.Fatal(id, err)
		}
		ids = append(ids, id)
	}
	j, err := store.Get(t.Context(), ids[0])
	if name, tick, ok := warren.TickOf(&j); err != nil || j.State != jobstore.Ready || j.Priority != 20 || !slices.Equal(j.Tags, []string{"schedule:paused", "x"}) ||
		!ok || name != "paused" || !tick.Equal(clock.Now()) || string(j.Args) != `{"for":"p"}` {
		t.Errorf("the job is %+v, %v", j, err)
	}
	runs, err := schedules.Runs(t.Context(), "manual", 10)
	if err != nil || len(runs) != 2 || !runs[0].Manual || runs[0].State != jobstore.Ready {
		t.Errorf("the runs are %+v, %v", runs, err)
	}
	if _, err := schedules.Run(t.Context(), "nobody"); !errors.Is(err, jobstore.ErrNotFound) {
		t.Errorf("a schedule that is not there runs: %v", err)
	}
}

// The row of the next tick is a job like others: cancelled, the run is left out and the next one comes.
func TestTheNextRunIsAJob(t *testing.T) {
	t.Parallel()
	store, clock := newClockStore(t, "2026-06-01T09:30:00Z")
	var runs ran
	registry := runs.registry()
	hourly := warren.Schedule{Name: "hourly", When: warren.Every(time.Hour), Args: report{}}
	run(t, clockNode(t, store, registry, hourly))
	var next jobstore.Job
	await(t, "the next run waits", func() bool {
		jobs, err := store.List(t.Context(), jobstore.Filter{Tags: []string{"schedule:hourly"}, Limit: 10})
		if err != nil || len(jobs) != 1 {
			return false
		}
		next = jobs[0]
		return true
	})
	if next.State != jobstore.Scheduled || !next.AvailableAt.Equal(at(t, "2026-06-01T10:00:00Z")) {
		t.Errorf("it is %+v", next)
	}
	if _, err := store.Cancel(t.Context(), []jobstore.ID{next.ID}); err != nil {
		t.Fatal(err)
	}
	for _, now := range []string{"2026-06-01T10:00:00Z", "2026-06-01T11:00:00Z"} {
		clock.set(at(t, now))
		await(t, "what is due has run", func() bool { return idle(t, store) })
	}
	if got := runs.of("hourly"); !slices.Equal(got, []string{"2026-06-01T11:00:00Z"}) {
		t.Errorf("it ran at %q", got)
	}
}

// Once is once, however fine its time, also when the program that declares it starts again afterwards.
func TestOnce(t *testing.T) {
	t.Parallel()
	store, clock := newClockStore(t, "2026-06-01T09:30:00Z")
	var runs ran
	registry := runs.registry()
	launch := warren.Schedule{Name: "launch", When: warren.Once(time.Date(2026, 6, 1, 10, 0, 0, 123_456_789, time.UTC)), Args: report{}}
	run(t, clockNode(t, store, registry, launch))
	await(t, "it is declared", func() bool {
		list, _, err := store.Schedules(t.Context())
		return err == nil && len(list) == 1
	})
	for _, now := range []string{"2026-06-01T10:00:01Z", "2026-06-01T11:00:00Z", "2027-06-01T10:00:01Z"} {
		clock.set(at(t, now))
		await(t, "what is due has run", func() bool { return idle(t, store) })
	}
	schedules := declares(t, store, launch)
	if info, err := schedules.Get(t.Context(), "launch"); err != nil || !info.Next.IsZero() || len(runs.of("launch")) != 1 {
		t.Errorf("it ran at %q and is %+v, %v", runs.of("launch"), info, err)
	}
}

// What is wrong with a schedule is said when it is declared, with the value and what would be right.
func TestBadSchedules(t *testing.T) {
	t.Parallel()
	store, _ := newClockStore(t, "2026-06-01T09:30:00Z")
	schedules := declares(t, store)
	good := func() warren.Schedule {
		return warren.Schedule{Name: "s", When: warren.Cron("0 3 * * *"), Args: report{}}
	}
	for want, change := range map[string]func(*warren.Schedule){
		`schedule "" is not a name`:                func(s *warren.Schedule) { s.Name = "" },
		`is not a name: use 1 to 128`:              func(s *warren.Schedule) { s.Name = strings.Repeat("n", 10<<10) },
		"in one way when it runs, and this":        func(s *warren.Schedule) { s.When = warren.When{} },
		`cron "0 25 * * *"`:                        func(s *warren.Schedule) { s.When = warren.Cron("0 25 * * *") },
		"every 0s":                                 func(s *warren.Schedule) { s.When = warren.Every(0).Between("05:00", "23:00") },
		"ends before it begins":                    func(s *warren.Schedule) { s.When = warren.Every(time.Minute).Between("23:00", "05:00") },
		`zone "Europe/Berln" is not known`:         func(s *warren.Schedule) { s.Zone = "Europe/Berln" },
		"has passed; it would never run":           func(s *warren.Schedule) { s.When = warren.Once(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) },
		"kind \"\" is not a name":                  func(s *warren.Schedule) { s.Args = nil },
		"priority 7 is not configured":             func(s *warren.Schedule) { s.Opts.Priority = new(7) },
		"is for single jobs":                       func(s *warren.Schedule) { s.Opts.Delay = time.Minute },
		"mode unique needs an identifier":          func(s *warren.Schedule) { s.Opts.Mode = jobstore.Unique },
		"metadata of a schedule must be":           func(s *warren.Schedule) { s.Opts.Metadata = "text" },
		"metadata has":                             func(s *warren.Schedule) { s.Opts.Metadata = map[string]string{"a": strings.Repeat("x", 5000)} },
		"32 tags are too many":                     func(s *warren.Schedule) { s.Opts.Tags = slices.Repeat([]string{"t"}, 32) },
		"catch-up 5000 is not from 0 to 1000":      func(s *warren.Schedule) { s.CatchUp = new(5000) },
		"the jobs of a schedule take queue, prior": func(s *warren.Schedule) { s.Opts.SerialGroup, s.Opts.Coalesce = "g", new(int64(1)) },
	} {
		s := good()
		change(&s)
		if _, err := schedules.Add(t.Context(), s); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, warren.ErrInvalidJob) || len(err.Error()) > 600 {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	var kinds warren.Registry
	warren.RegisterFunc(&kinds, func(context.Context, *warren.Job[report]) error { return nil }, warren.KindOpts{UniqueBy: []string{"for"}})
	warren.RegisterFunc(&kinds, func(context.Context, *warren.Job[mail]) error { return nil }, warren.KindOpts{Delay: time.Hour})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &kinds})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Schedules(store).Add(t.Context(), good()); err == nil || !strings.Contains(err.Error(), "kind report is unique by fields of its args") {
		t.Errorf("a unique kind: %v", err)
	}
	delayed := warren.Schedule{Name: "delayed", When: warren.Cron("0 3 * * *"), Args: mail{}}
	if info, err := client.Schedules(store).Add(t.Context(), delayed); err != nil || !info.Next.Equal(at(t, "2026-06-02T03:00:00Z")) {
		t.Errorf("a kind with a delay: %+v, %v", info, err)
	}
	var runs ran
	bad := good()
	bad.Zone = "Mars/Olympus"
	if _, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Registry: runs.registry(), Schedules: []warren.Schedule{good(), good(), bad}}); err == nil ||
		!strings.Contains(err.Error(), "declared twice") || !strings.Contains(err.Error(), "Mars/Olympus") {
		t.Errorf("a consumer with bad schedules: %v", err)
	}
	if _, err := schedules.Add(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	if _, err := schedules.Add(t.Context(), good()); !errors.Is(err, jobstore.ErrRefused) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := schedules.Edit(t.Context(), "s", func(s *warren.Schedule) error { s.Zone = "Mars/Olympus"; return nil }); !errors.Is(err, warren.ErrInvalidJob) {
		t.Errorf("a bad edit: %v", err)
	}
	if info, err := schedules.Get(t.Context(), "s"); err != nil || info.Zone != "" || info.State != jobstore.Scheduled {
		t.Errorf("after a bad edit it is %+v, %v", info, err)
	}
}

var _ warren.ScheduleStore = (*postgres.Store)(nil)
