package jobstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hintPatience is how long a hint may be on its way before its absence means something.
const hintPatience = 2 * time.Second

// evaluation gathers the gates of a job that has not started.
type evaluation struct {
	Facts
	broker BrokerView
	gates  []Gate
	due    bool // now, or within one tick
}

func (e *evaluation) add(name string, blocking bool, facts map[string]any, format string, args ...any) {
	e.gates = append(e.gates, Gate{Name: name, Blocking: blocking, Text: fmt.Sprintf(format, args...), Facts: facts})
}

func (e *evaluation) has(names ...string) bool {
	return slices.ContainsFunc(e.gates, func(g Gate) bool { return slices.Contains(names, g.Name) })
}

func (e *evaluation) blocked() bool {
	return slices.ContainsFunc(e.gates, func(g Gate) bool { return g.Blocking })
}

// time looks at the state and its due time. A claim takes only what is READY and due; the sweep
// makes READY what is due.
func (e *evaluation) time() {
	j := e.Job
	left := j.AvailableAt.Sub(e.Now)
	e.due = left <= Tick
	facts := map[string]any{"state": j.State, "available_at": j.AvailableAt}
	if left > 0 {
		facts["seconds_left"] = left.Seconds()
		why := map[State]string{
			Scheduled: "it is SCHEDULED", Waiting: "its handler asked to wait",
			TemporarilyFailed: fmt.Sprintf("attempt %s failed and it backs off", attempts(j)),
		}[j.State]
		if why == "" {
			why = "it is " + string(j.State)
		}
		if j.Error != "" && j.State != Scheduled {
			facts["error"] = j.Error
			why += " (" + firstLine(j.Error) + ")"
		}
		e.add(GateNotDue, !e.due, facts, "%s; it is due at %s, in %s", why, clock(j.AvailableAt), round(left))
	}
	if j.State != Ready && e.due {
		e.add(GateSweep, false, facts, "it is %s and due: the sweep makes it READY within %s", j.State, Tick)
		if e.Leader == "" {
			e.gates = append(e.gates, e.noLeader("nobody makes due jobs READY"))
		}
	}
}

func attempts(j Job) string {
	if j.MaxAttempts == 0 {
		return strconv.Itoa(j.Attempts)
	}
	return fmt.Sprintf("%d of %d", j.Attempts, j.MaxAttempts)
}

// pauses names what an operator has paused besides the queue. A consumer that was started with force
// does not mind that everything is paused.
func (e *evaluation) pauses() {
	for _, p := range e.Pauses {
		what, resume := "everything", "warren resume --all"
		switch p.Of {
		case PauseOfKind:
			what, resume = "kind "+p.Name, "warren resume --kind "+p.Name
		case PauseOfGroup:
			what, resume = "serial group "+p.Name, "warren resume --group "+p.Name
		case PauseOfDisabled:
			e.disabled(p)
			continue
		case PauseOfAll, PauseOfQueue:
		}
		facts := map[string]any{"of": p.Of, "name": p.Name, "paused_at": p.At}
		until := ""
		if p.Until != nil {
			facts["until"] = *p.Until
			until = " until " + clock(*p.Until)
		}
		forced := slices.ContainsFunc(e.Takers, func(t Taker) bool { return t.Alive && t.Force && t.TakesBand && t.KnowsKind })
		e.add(GatePaused, p.Of != PauseOfAll || !forced, facts, "%s was paused at %s%s; '%s' lets it go on", what, clock(p.At), until, resume)
	}
}

// disabled says that the job's kind is, and why.
func (e *evaluation) disabled(p Pause) {
	reason := ""
	if p.Reason != "" {
		reason = ": " + p.Reason
	}
	e.add(GateDisabled, true, map[string]any{"kind": p.Name, "disabled_at": p.At, "reason": p.Reason},
		"kind %s was disabled at %s%s; 'warren kinds enable %s' lets it go on", p.Name, clock(p.At), reason, p.Name)
}

func (e *evaluation) queue() {
	if e.PausedAt == nil {
		return
	}
	facts := map[string]any{"queue": e.Job.Queue, "paused_at": *e.PausedAt}
	until := ""
	if e.PausedUntil != nil {
		facts["until"] = *e.PausedUntil
		until = " until " + clock(*e.PausedUntil)
	}
	e.add(GatePaused, true, facts, "queue %s was paused at %s%s; 'warren queues resume %s' lets it go on",
		e.Job.Queue, clock(*e.PausedAt), until, e.Job.Queue)
}

// group names the member that has to end first.
func (e *evaluation) group() {
	b := e.Blocker
	if b == nil {
		return
	}
	facts := map[string]any{"serial_group": e.Job.SerialGroup, "job": b.ID, "state": b.State}
	text := fmt.Sprintf("serial group %s is blocked by job %d, ", e.Job.SerialGroup, b.ID)
	switch {
	case b.State == "":
		text += "which is not there any more; the sweep mends that within 20s"
	case b.Running && b.State != Processing:
		text += fmt.Sprintf("which is %s and not running; the sweep mends that within 20s", b.State)
	case b.State == Processing:
		text += fmt.Sprintf("running on %s (pid %d)", b.Host, b.PID)
		facts["host"], facts["pid"] = b.Host, b.PID
		if b.AttemptedAt != nil {
			text += " since " + clock(*b.AttemptedAt)
			facts["since"] = *b.AttemptedAt
		}
		if b.Dead {
			text += ", whose lease has expired: the sweep hands it back within seconds"
		}
	case b.AvailableAt.After(e.Now):
		text += fmt.Sprintf("which is %s until %s", b.State, clock(b.AvailableAt))
		facts["until"] = b.AvailableAt
	default:
		text += fmt.Sprintf("which is %s and goes first; 'warren why %d' says what it waits for", b.State, b.ID)
	}
	e.add(GateGroup, true, facts, "%s", text)
}

// consumers asks whether anybody may take the job at all: its band among those taken, its kind
// among those known, by the same consumer.
func (e *evaluation) consumers() {
	var band, kind, both, leaving int
	var bands []string
	for _, t := range e.Takers {
		switch {
		case !t.Alive:
			continue
		case t.Restarting:
			leaving++
			continue
		}
		bands = append(bands, t.Bands...)
		band += count(t.TakesBand)
		kind += count(t.KnowsKind)
		both += count(t.TakesBand && t.KnowsKind)
	}
	slices.Sort(bands)
	bands = slices.Compact(bands)
	j := e.Job
	where := fmt.Sprintf("queue %s at priority %d", j.Queue, j.Priority)
	if band == 0 {
		text := "no living consumer takes " + where
		switch {
		case len(bands) > 0:
			text += "; taken are " + strings.Join(bands, ", ")
		case leaving > 0:
			text += fmt.Sprintf(": the %d that live were told to exit", leaving)
		default:
			text = "no consumer is alive; start one with 'consumer run'"
		}
		e.add(GateNoConsumer, true, map[string]any{"queue": j.Queue, "priority": j.Priority, "bands": filled(bands)}, "%s", text)
	}
	facts := map[string]any{"kind": j.Kind}
	switch {
	case kind == 0 && len(bands) > 0:
		e.add(GateKindUnknown, true, facts, "no living consumer has a handler for kind %s", j.Kind)
	case both == 0 && band > 0 && kind > 0:
		e.add(GateKindUnknown, true, facts, "the consumers of %s have no handler for kind %s; those that have one take other bands", where, j.Kind)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func filled(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// announcing follows the job's number to the consumers.
func (e *evaluation) announcing() {
	if !e.broker.Configured {
		e.add(GateNoBroker, false, nil, "no broker is configured here: consumers look into the database by themselves")
		return
	}
	if e.broker.Err != nil {
		e.add(GateBrokerAway, true, map[string]any{"error": e.broker.Err.Error()}, "the broker cannot be used from here: %v", e.broker.Err)
	}
	at := e.Job.AnnounceAt
	if e.Job.State != Ready || at == nil {
		return
	}
	left := at.Sub(e.Now)
	facts := map[string]any{"announce_at": *at}
	if left > Tick {
		e.add(GateOutbox, true, facts, "its number is announced at %s, in %s: the consumer that was offered it last had no handler for it", clock(*at), round(left))
	} else {
		e.add(GateOutbox, false, facts, "its number waits in the outbox: the sweep announces it within %s", Tick)
	}
	if e.Leader == "" && !e.has(GateNoLeader) {
		e.gates = append(e.gates, e.noLeader("nobody announces it"))
	}
}

// crowd asks whether a slot is free for the job once the rows before it have theirs.
func (e *evaluation) crowd() {
	if !e.due || len(e.Crowds) == 0 {
		return
	}
	sure, free, ahead, consumers := false, 0, 0, 0
	for _, c := range e.Crowds {
		sure = sure || c.Free > c.Ahead
		if c.Everybody {
			free, ahead, consumers = c.Free, c.Ahead, c.Consumers
		}
	}
	facts := map[string]any{"free_slots": free, "consumers": consumers}
	switch {
	case sure:
	case free == 0:
		e.add(GateBusy, true, facts, "every slot of the %d consumers that may take it is busy", consumers)
	default:
		e.add(GateBusy, true, facts, "the %d consumers that may take it have %d free slots, and at least %d jobs go first", consumers, free, ahead)
	}
	if n := e.Position; n > 0 {
		more := ""
		if n >= MaxPosition {
			more = "at least "
		}
		e.add(GatePosition, false, map[string]any{"ahead": n}, "%s%d READY jobs of its band come before it", more, n)
	}
	e.hint()
}

// hint finds the one case in which a broker's loss shows: everything is free, and nothing waits.
func (e *evaluation) hint() {
	j := e.Job
	since := j.AvailableAt
	if j.CreatedAt.After(since) {
		since = j.CreatedAt
	}
	if !e.broker.Configured || e.blocked() || e.broker.Depth > 0 || j.State != Ready || j.AnnounceAt != nil || e.Now.Sub(since) < hintPatience {
		return
	}
	e.add(GateHintLost, true, nil, "no message of its band waits in the broker, so its hint was lost; the sweep notices within 20s and announces it again")
	if e.Leader == "" {
		e.gates = append(e.gates, e.noLeader("nobody looks for lost hints"))
	}
}
