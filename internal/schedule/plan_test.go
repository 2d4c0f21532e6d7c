package schedule_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/schedule"
	"github.com/warrenq/warren/jobstore"
)

// row is a schedule whose job 7 waits for a tick.
func row(t *testing.T, d schedule.Definition, tick string) *jobstore.Schedule {
	t.Helper()
	d.Kind, d.Args, d.Queue, d.Priority = "k", json.RawMessage(`{}`), "default", 10
	text, err := d.Text()
	if err != nil {
		t.Fatal(err)
	}
	return &jobstore.Schedule{
		Name: "s", Version: 3, Definition: text, Tick: at(t, tick), LookAt: at(t, tick), Job: 7, JobState: jobstore.Scheduled,
	}
}

func none(int64) int64 { return 0 }

func ticks(move jobstore.ScheduleMove) (out []string) {
	for _, p := range move.Plant {
		text := p.Tick.UTC().Format("15:04:05")
		if p.Next {
			text += " next"
		}
		out = append(out, text)
	}
	return out
}

// What becomes of a schedule when it is looked at, some time after its tick at 10:00.
func TestAdvance(t *testing.T) {
	t.Parallel()
	hourly := func(catchUp int) schedule.Definition { return schedule.Definition{Cron: "0 * * * *", CatchUp: catchUp} }
	for _, c := range []struct {
		name   string
		d      schedule.Definition
		state  jobstore.State
		now    string
		want   []string
		goes   bool // the row that waits is withdrawn
		missed bool
	}{
		{"in time", hourly(1), jobstore.Scheduled, "10:00:00", []string{"11:00:00 next"}, false, false},
		{"its row was let go before", hourly(1), jobstore.Ready, "10:00:00", []string{"11:00:00 next"}, false, false},
		{"its row was cancelled", hourly(1), jobstore.Cancelled, "10:00:00", []string{"11:00:00 next"}, false, false},
		{"its row was removed", hourly(1), "", "10:00:00", []string{"11:00:00 next"}, false, false},
		{"a bit late", hourly(0), jobstore.Scheduled, "10:00:50", []string{"11:00:00 next"}, false, false},
		{"late, and still the latest", hourly(1), jobstore.Scheduled, "10:59:00", []string{"11:00:00 next"}, false, true},
		{"late, and nothing is made up for", hourly(0), jobstore.Scheduled, "10:59:00", []string{"11:00:00 next"}, true, true},
		{"three are missed, the latest is made up for", hourly(1), jobstore.Scheduled, "13:30:00", []string{"13:00:00", "14:00:00 next"}, true, true},
		{"three are missed, two are made up for", hourly(2), jobstore.Scheduled, "13:30:00", []string{"12:00:00", "13:00:00", "14:00:00 next"}, true, true},
		{"three are missed, all four run", hourly(4), jobstore.Scheduled, "13:30:00", []string{"11:00:00", "12:00:00", "13:00:00", "14:00:00 next"}, false, true},
		{"three are missed, none is made up for", hourly(0), jobstore.Scheduled, "13:30:00", []string{"14:00:00 next"}, true, true},
		{"of those missed the last is in time", hourly(0), jobstore.Scheduled, "13:00:10", []string{"13:00:00", "14:00:00 next"}, true, true},
		{"the first ran, later ones are missed", hourly(1), jobstore.Finished, "13:30:00", []string{"13:00:00", "14:00:00 next"}, false, true},
		{
			"jitter is not over",
			schedule.Definition{Cron: "0 * * * *", Jitter: schedule.Duration(10 * time.Minute)},
			jobstore.Scheduled, "10:05:00",
			[]string{"11:00:00 next"},
			false, false,
		},
		{"once", schedule.Definition{Once: at(t, "2026-06-01T10:00:00Z"), CatchUp: 1}, jobstore.Scheduled, "10:30:00", nil, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := row(t, c.d, "2026-06-01T10:00:00Z")
			s.JobState = c.state
			plan, err := schedule.Advance(s, at(t, "2026-06-01T"+c.now+"Z"), none)
			if err != nil {
				t.Fatal(err)
			}
			m := plan.Move
			if got := ticks(m); !slices.Equal(got, c.want) {
				t.Errorf("planted %q, want %q", got, c.want)
			}
			if (m.Withdraw == 7) != c.goes || (m.Reason != "") != c.goes || plan.Missed != c.missed || m.Missed != c.missed {
				t.Errorf("withdrawn %d (%s), missed %t", m.Withdraw, m.Reason, plan.Missed)
			}
			if m.Version != 3 || m.Name != "s" || m.LookAt != m.Tick || m.Tick.IsZero() != (len(c.want) == 0) {
				t.Errorf("the move is %+v", m)
			}
		})
	}
}

// A year of missed seconds does not keep the sweep busy.
func TestALongPause(t *testing.T) {
	t.Parallel()
	s := row(t, schedule.Definition{Every: schedule.Duration(time.Second), CatchUp: 3}, "2006-06-01T10:00:00Z")
	plan, err := schedule.Advance(s, at(t, "2026-06-01T10:00:00Z"), none)
	if want := []string{"09:59:58", "09:59:59", "10:00:00", "10:00:01 next"}; err != nil || !slices.Equal(ticks(plan.Move), want) {
		t.Errorf("planted %q, want %q, %v", ticks(plan.Move), want, err)
	}
	s = row(t, schedule.Definition{Cron: "0 0 29 2 *", CatchUp: 2}, "2004-02-29T00:00:00Z")
	plan, err = schedule.Advance(s, at(t, "2026-06-01T10:00:00Z"), none)
	if err != nil || len(plan.Move.Plant) != 3 || plan.Move.Plant[0].Tick != at(t, "2020-02-29T00:00:00Z") || plan.Move.Plant[1].Tick != at(t, "2024-02-29T00:00:00Z") {
		t.Errorf("planted %+v, %v", plan.Move.Plant, err)
	}
}

// The job of a tick: what the definition says, the mark of its tick, and jitter on its time.
func TestTheJobOfATick(t *testing.T) {
	t.Parallel()
	d := schedule.Definition{
		Cron: "0 * * * *", CatchUp: 1, Jitter: schedule.Duration(time.Minute), SerialGroup: "g", MaxAttempts: 4,
		Timeout: schedule.Duration(time.Second), Metadata: json.RawMessage(`{"team":"ops"}`), Tags: []string{"nightly"},
	}
	s := row(t, d, "2026-06-01T10:00:00Z")
	plan, err := schedule.Advance(s, at(t, "2026-06-01T10:00:00Z"), func(n int64) int64 { return n - 1 })
	if err != nil {
		t.Fatal(err)
	}
	j := plan.Move.Plant[0].Job
	if want := at(t, "2026-06-01T11:01:00Z"); !j.AvailableAt.Equal(want) {
		t.Errorf("it is due at %s, want %s", j.AvailableAt, want)
	}
	if j.Kind != "k" || j.Queue != "default" || j.Priority != 10 || j.SerialGroup != "g" || !j.GroupSkip || j.MaxAttempts != 4 ||
		j.Timeout != time.Second || !slices.Equal(j.Tags, []string{"schedule:s", "nightly"}) || j.Mode != jobstore.Normal {
		t.Errorf("the job is %+v", j)
	}
	if !strings.Contains(string(j.Metadata), `"team":"ops"`) {
		t.Errorf("metadata is %s", j.Metadata)
	}
	if mark, ok := schedule.MarkOf(j.Metadata); !ok || mark.Name != "s" || !mark.Tick.Equal(at(t, "2026-06-01T11:00:00Z")) || mark.Manual {
		t.Errorf("its mark is %+v", mark)
	}
	if _, ok := schedule.MarkOf(json.RawMessage(`{"schedule":"text"}`)); ok {
		t.Error("a text is taken for a mark")
	}
}

// A definition of a newer program, or a zone that is not known here, is looked at again later, by a
// newer leader perhaps. Its row that waits stays.
func TestWhatCannotBeReadIsLeftForLater(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-06-01T10:00:00Z")
	for _, text := range []string{`{"cron":"0 * * * *","catch_up":1,"moon":"full"}`, `{"cron":"0 * * * *","zone":"Mars/Olympus"}`, `[]`} {
		s := row(t, schedule.Definition{Cron: "0 * * * *"}, "2026-06-01T10:00:00Z")
		s.Definition = json.RawMessage(text)
		plan, err := schedule.Advance(s, now, none)
		m := plan.Move
		if err == nil || m.Job != 7 || m.Withdraw != 0 || len(m.Plant) != 0 || !m.Tick.Equal(s.Tick) || !m.LookAt.After(now) || string(m.Definition) != text {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
}

// Two texts that mean the same have one digest; what means something else has another.
func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(args string, catchUp int) string {
		d := schedule.Definition{Cron: "@daily", CatchUp: catchUp, Args: json.RawMessage(args)}
		text, err := d.Digest()
		if err != nil || text == "" {
			t.Fatal(text, err)
		}
		return text
	}
	if digest(`{"a":1,"b":[2]}`, 1) != digest(`{ "b": [2], "a":1 }`, 1) {
		t.Error("the order of keys counts")
	}
	if digest(`{"a":1}`, 1) == digest(`{"a":2}`, 1) || digest(`{"a":1}`, 1) == digest(`{"a":1}`, 2) {
		t.Error("different definitions have one digest")
	}
}
