package sweeper_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/internal/sweeper"
	"github.com/warrenq/warren/jobstore"
)

// waiting is a schedule whose row became due this long ago.
func waiting(name string, ago time.Duration) jobstore.Schedule {
	tick := time.Now().Add(-ago).Truncate(time.Minute)
	return jobstore.Schedule{
		Name: name, Version: 1, Definition: json.RawMessage(`{"cron":"* * * * *","catch_up":1,"kind":"k","args":{},"queue":"q","priority":10,"max_attempts":25}`),
		Tick: tick, LookAt: tick, Job: 5, JobState: jobstore.Scheduled,
	}
}

// Without a schedule that is due the sweep asks for none; with one it plants before it lets due rows go.
func TestTheSweepPlants(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		pass(10 * time.Minute)
		if n := r.count("due schedules", "move schedules"); n != 0 {
			t.Errorf("without schedules there were %d statements about them", n)
		}
		r.set(func() {
			r.schedules = []jobstore.Schedule{waiting("a", 0), waiting("b", 0)}
			r.due = refs(1, 1)
			r.lines = nil
		})
		pass(time.Second)
		r.set(func() {
			if want := []string{"moved a", "moved b", "announced"}; !slices.Equal(r.lines, want) {
				t.Errorf("it did %q, want %q", r.lines, want)
			}
			for _, m := range r.moves {
				if len(m.Plant) != 1 || !m.Plant[0].Next || m.Withdraw != 0 || m.Missed {
					t.Errorf("the move is %+v", m)
				}
			}
		})
	})
}

// Hundreds at once are moved in batches.
func TestManySchedulesAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		for i := range 250 {
			r.schedules = append(r.schedules, waiting(fmt.Sprint("s", i), 0))
		}
		r.start()
		if n := r.count("move schedules"); len(r.moves) != 250 || n != 3 {
			t.Errorf("%d schedules were moved in %d transactions, want 250 in 3", len(r.moves), n)
		}
	})
}

// One whose job cannot be stored, and one that cannot be read, hold up no other, and come again later.
func TestBadSchedulesHoldUpNoOther(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		strange := waiting("strange", 0)
		strange.Definition = json.RawMessage(`{"moon":"full"}`)
		r.schedules = []jobstore.Schedule{waiting("a", 0), waiting("bad", 0), strange, waiting("z", 0)}
		r.bad = "bad"
		r.start()
		planted := map[string]int{}
		for _, m := range r.moves {
			planted[m.Name] = len(m.Plant)
			if (m.Name == "bad" || m.Name == "strange") && !m.LookAt.After(time.Now()) {
				t.Errorf("%s is looked at again at %s", m.Name, m.LookAt)
			}
		}
		if len(planted) != 4 || planted["a"] != 1 || planted["z"] != 1 || planted["bad"] != 0 || planted["strange"] != 0 {
			t.Errorf("planted %v", planted)
		}
		for _, name := range []string{"bad", "strange"} {
			if !slices.ContainsFunc(r.logs.All(), func(e observer.LoggedEntry) bool {
				return e.ContextMap()["schedule"] == name && strings.Contains(e.Message, "looked at again later")
			}) {
				t.Errorf("nothing is said of %s", name)
			}
		}
	})
}

// Missed runs are told of, once.
func TestMissedRunsAreToldOf(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		var missed []string
		r.cfg.Missed = func(name string) { missed = append(missed, name) }
		r.s = sweeper.New(r.cfg)
		r.schedules = []jobstore.Schedule{waiting("late", time.Hour), waiting("fine", 0)}
		r.start()
		pass(time.Minute)
		if !slices.Equal(missed, []string{"late"}) || r.logs.FilterMessageSnippet("were missed").Len() != 1 {
			t.Errorf("told of %v", missed)
		}
		r.set(func() {
			late := r.moves[0]
			if !late.Missed || late.Withdraw != 5 || len(late.Plant) != 2 {
				t.Errorf("the move is %+v", late)
			}
		})
	})
}
