package check_test

import (
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/test/chaos/check"
)

// at is a moment of a history, in milliseconds.
func at(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }

// good is a history in which nothing is wrong: two jobs of one group, one of which came back from a process that
// died, a plain job, and one whose first holder was frozen past its lease.
func good() *check.History {
	return &check.History{
		Published: []check.Publish{
			{Tag: "a", Fate: check.Committed, Confirmed: at(1)},
			{Tag: "b", Fate: check.Committed, Confirmed: at(2)},
			{Tag: "c", Fate: check.Committed, Confirmed: at(3)},
			{Tag: "d", Fate: check.Committed, Confirmed: at(3)},
			{Tag: "r", Fate: check.RolledBack},
			{Tag: "m", Fate: check.Maybe},
		},
		Rows: []check.Row{
			{ID: 1, Tag: "a", State: "FINISHED", Group: "g", Priority: 10, OutcomeLease: 2, Crashes: 1},
			{ID: 2, Tag: "b", State: "FINISHED", Group: "g", Priority: 10, OutcomeLease: 1},
			{ID: 3, Tag: "c", State: "FINISHED", Priority: 20, OutcomeLease: 1},
			{ID: 4, Tag: "d", State: "FINISHED", Priority: 20, OutcomeLease: 2, Crashes: 1},
		},
		Changes: numbered(
			inserted(1), inserted(2), inserted(3), inserted(4),
			claimed(1, 1, 10), claimed(3, 1, 10), claimed(4, 1, 10), finished(3, 1, 20), left(3, 1, 20),
			moved(1, "PROCESSING", "READY", 1, 1, 5000), moved(4, "PROCESSING", "READY", 1, 1, 5000), claimed(1, 2, 5010), claimed(4, 2, 5010),
			left(1, 2, 5020), finished(1, 2, 5020), claimed(2, 1, 5030), finished(2, 1, 5040), finished(4, 2, 5040),
		),
		Runs: []check.Run{
			{ID: 1, Lease: 1, PID: 7, Start: at(11), Group: "g"},
			{ID: 1, Lease: 2, PID: 8, Start: at(5011), End: at(5019), Group: "g"},
			{ID: 2, Lease: 1, PID: 8, Start: at(5031), End: at(5039), Group: "g"},
			{ID: 3, Lease: 1, PID: 8, Start: at(11), End: at(19)},
			{ID: 4, Lease: 1, PID: 9, Start: at(11), End: at(6100)},
			{ID: 4, Lease: 2, PID: 8, Start: at(5011), End: at(5039)},
		},
		Processes: []check.Process{
			{PID: 7, Start: at(-100), End: at(100)},
			{PID: 8, Start: at(-100)},
			{PID: 9, Start: at(-100), Pauses: []check.Span{{From: at(50), To: at(6000)}}},
		},
		MinPause: 500 * time.Millisecond, Poison: 3, Injected: 3, PoisonKept: true,
	}
}

func after(tag string, tags ...string) check.Publish {
	return check.Publish{Tag: tag, Fate: check.Committed, Confirmed: at(1), After: tags}
}

func inserted(id int64) check.Change { return moved(id, "", "READY", 0, 0, 0) }
func claimed(id, lease int64, ms int) check.Change {
	crashes := 0
	if lease > 1 {
		crashes = 1
	}
	return moved(id, "READY", "PROCESSING", lease, crashes, ms)
}

func finished(id, lease int64, ms int) check.Change {
	return moved(id, "", "FINISHED", lease, int(lease)-1, ms)
}

func left(id, lease int64, ms int) check.Change {
	return moved(id, "PROCESSING", "", lease, int(lease)-1, ms)
}

func moved(id int64, from, to string, lease int64, crashes, ms int) check.Change {
	return check.Change{ID: id, Old: from, New: to, Lease: lease, Crashes: crashes, At: at(ms), Began: at(ms)}
}

func numbered(changes ...check.Change) []check.Change {
	for i := range changes {
		changes[i].Seq = int64(i + 1)
	}
	return changes
}

func classes(v check.Verdict) []string {
	var found []string
	for _, x := range v.Violations {
		found = append(found, x.Class)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestAGoodHistoryIsGood(t *testing.T) {
	t.Parallel()
	v := check.Check(good())
	if len(v.Violations) > 0 {
		t.Errorf("%v", v.Violations)
	}
	want := check.Counts{Jobs: 4, Maybe: 1, RolledBack: 1, Runs: 6, Extra: 2, Rescued: 2, Explained: 1}
	if v.Counts != want {
		t.Errorf("counts %+v, want %+v", v.Counts, want)
	}
}

func TestABadHistoryIsBad(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		class string
		spoil func(h *check.History)
	}{
		"a committed job is not there":     {check.Lost, func(h *check.History) { h.Rows = h.Rows[:2]; h.Runs = h.Runs[:3] }},
		"a job never ends":                 {check.Lost, func(h *check.History) { h.Rows[2].State = "READY" }},
		"a job of a flow was not released": {check.Lost, func(h *check.History) { h.Published = append(h.Published, after("n", "a", "c")) }},
		"nor though its commit is unknown": {check.Lost, func(h *check.History) {
			h.Published = append(h.Published, after("n", "a", "c"))
			h.Published[len(h.Published)-1].Fate = check.Maybe
		}},
		"a job of a flow was released twice":  {check.Twice, func(h *check.History) { h.Rows[3].Tag = "c" }},
		"a job of a flow was early":           {check.Early, func(h *check.History) { h.Published[3].After = []string{"b"} }},
		"a rolled-back job is there":          {check.Ghost, func(h *check.History) { h.Published[2].Fate = check.RolledBack }},
		"a job ran that is not there":         {check.Ghost, func(h *check.History) { h.Runs[3].ID = 99 }},
		"nobody published it":                 {check.Stranger, func(h *check.History) { h.Published = h.Published[1:] }},
		"two outcomes were accepted":          {check.Double, func(h *check.History) { add(h, finished(3, 2, 30)) }},
		"FINISHED without an outcome":         {check.Double, func(h *check.History) { h.Changes = slices.Delete(h.Changes, 7, 8) }},
		"FINISHED, and never ran":             {check.Unproved, func(h *check.History) { h.Rows[2].OutcomeLease = 5 }},
		"FINISHED, and did not run to an end": {check.Unproved, func(h *check.History) { h.Runs[3].End = time.Time{} }},
		"it ran again after it had ended":     {check.Resurrected, func(h *check.History) { add(h, moved(3, "FINISHED", "READY", 1, 0, 30)) }},
		"it vanished after it had ended":      {check.Resurrected, func(h *check.History) { add(h, moved(3, "FINISHED", "", 1, 0, 30)) }},
		"a lease number was given twice":      {check.LeaseOrder, func(h *check.History) { h.Changes[11].Lease = 1 }},
		"what runs was claimed":               {check.BadMove, func(h *check.History) { h.Changes[11].Old = "PROCESSING" }},
		"it ended without being claimed":      {check.BadMove, func(h *check.History) { h.Changes = slices.Delete(h.Changes, 5, 6) }},
		"two ran at once, and nobody paused":  {check.Overlap, func(h *check.History) { h.Processes[2].Pauses = nil }},
		"the pause was too short for that":    {check.Overlap, func(h *check.History) { h.Processes[2].Pauses[0].From = at(5900) }},
		"the pause began afterwards":          {check.Overlap, func(h *check.History) { h.Processes[2].Pauses[0].From = at(5100) }},
		"it went on after its thaw":           {check.Overlap, func(h *check.History) { h.Runs[4].End = at(6251) }},
		"a dead process's run is over": {check.Overlap, func(h *check.History) {
			h.Processes[0].End = at(5015) // it died after the next run had begun
		}},
		"two of a group ran at once":             {check.Overlap, func(h *check.History) { h.Runs[2].Start = at(5015) }},
		"two of a group were PROCESSING":         {check.GroupState, func(h *check.History) { swap(h, 13, 15); swap(h, 14, 15) }},
		"a predecessor was passed over":          {check.GroupOrder, func(h *check.History) { h.Rows[1].Priority = 5 }},
		"QUARANTINED too early":                  {check.Quarantine, func(h *check.History) { h.Rows[2].State = "QUARANTINED" }},
		"failed for good, and should not":        {check.Failed, func(h *check.History) { h.Rows[2].State = "PERMANENTLY_FAILED" }},
		"messages are left":                      {check.Leftover, func(h *check.History) { h.QueueDepth = 1 }},
		"a bad message was copied twice":         {check.Poisoned, func(h *check.History) { h.Poison = 4 }},
		"a bad message was not kept":             {check.Poisoned, func(h *check.History) { h.Poison = 2 }},
		"a process logged without end":           {check.HotLoop, func(h *check.History) { outage(h, 61, 0) }},
		"a process tried to connect without end": {check.HotLoop, func(h *check.History) { outage(h, 0, 31) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := good()
			c.spoil(h)
			if found := classes(check.Check(h)); !slices.Contains(found, c.class) {
				t.Errorf("found %q, want %q among them", found, c.class)
			}
		})
	}
}

func add(h *check.History, c check.Change) { h.Changes = numbered(append(h.Changes, c)...) }

func swap(h *check.History, i, j int) {
	h.Changes[i], h.Changes[j] = h.Changes[j], h.Changes[i]
	numbered(h.Changes...)
}

func outage(h *check.History, lines, dials int) {
	h.Outages = append(h.Outages, check.Outage{What: "no database", PID: 8, For: 10 * time.Second, Lines: lines, Dials: dials})
}

// What is allowed is allowed: these change a good history into another good one.
func TestWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(h *check.History){
		"an unknown commit that did happen": func(h *check.History) { h.Published[2].Fate = check.Maybe },
		"three crashes and a quarantine": func(h *check.History) {
			h.Rows[2].State, h.Rows[2].Crashes = "QUARANTINED", 3
			h.Changes[7].New = "QUARANTINED"
		},
		"a handler that ignores its context":  func(h *check.History) { h.Runs[4].End = at(9000); h.Stubborn = map[string]bool{"d": true} },
		"a machine with late timers":          func(h *check.History) { h.Runs[4].End = at(6300); h.Slack = 100 * time.Millisecond },
		"a better member, committed too late": func(h *check.History) { h.Rows[1].Priority = 5; h.Published[1].Confirmed = at(5015) },
		"a job that a quarantined one kept back": func(h *check.History) {
			h.Rows[2].State, h.Rows[2].Crashes = "QUARANTINED", 3
			h.Changes[7].New = "QUARANTINED"
			h.Published = append(h.Published, after("n", "c"), after("o", "n"))
		},
		"a job that went after another":   func(h *check.History) { h.Published[1].After = []string{"a"} },
		"a better member, released later": func(h *check.History) { h.Rows[0].Priority, h.Published[1].After = 20, []string{"a"} },
		"calm in an outage":               func(h *check.History) { outage(h, 60, 30) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := good()
			change(h)
			if v := check.Check(h); len(v.Violations) > 0 {
				t.Errorf("%v", v.Violations)
			}
		})
	}
}
