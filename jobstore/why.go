package jobstore

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Explainer says why a job does not run.
type Explainer interface {
	// Explain reads, in one snapshot, what a claim and the sweep would look at. ErrNotFound for a
	// number that no job has.
	Explain(ctx context.Context, id ID) (Facts, error)
}

// Facts are everything in the database that decides whether a job may start.
type Facts struct {
	Job Job
	Now time.Time // the database's clock
	// Holder is the consumer that a PROCESSING job is leased to; nil when its registration is gone.
	Holder *Taker
	// Leader is who sweeps; "" when nobody does.
	Leader string
	// Takers are the living consumers.
	Takers []Taker
	// Blocker is the member of the serial group that has to end first; nil = none.
	Blocker *Blocker
	// KeyHolder is the job that has the unique key of this one's kind and identifier; 0 = none.
	KeyHolder ID
	// PausedAt is when an operator has paused the queue, PausedUntil when that ends by itself.
	PausedAt, PausedUntil *time.Time
	// Pauses are those of its kind, of its serial group and of everything.
	Pauses []Pause
	// Crowds are the consumers that may take the job, grouped by what they take.
	Crowds []Crowd
	// Position counts the READY rows of the band that come before the job, up to MaxPosition.
	Position int64
}

// MaxPosition is where counting the rows before a job ends.
const MaxPosition = 100_000

// Taker is a registered consumer.
type Taker struct {
	ID         HolderID
	Name       string
	Host       string
	PID        int
	ExpiresAt  time.Time
	Alive      bool
	Restarting bool // it was told to drain and exit
	Force      bool // it goes on while everything is paused
	// TakesBand and KnowsKind are about the job that is explained.
	TakesBand, KnowsKind bool
	Bands                []string // queue/priority,priority
}

func (t Taker) String() string {
	if t.Name == "" {
		return fmt.Sprintf("consumer %d (%s, pid %d)", t.ID, t.Host, t.PID)
	}
	return fmt.Sprintf("consumer %d (%s on %s, pid %d)", t.ID, t.Name, t.Host, t.PID)
}

// Blocker is a job that another waits for.
type Blocker struct {
	ID          ID
	State       State
	Running     bool // it has the group's row
	Host        string
	PID         int
	AttemptedAt *time.Time
	AvailableAt time.Time
	Dead        bool // its consumer's lease has expired
}

// Crowd is some consumers that take the same bands and kinds.
type Crowd struct {
	Consumers int
	Free      int // slots
	// Ahead counts claimable rows that these consumers take first, up to Free.
	Ahead int
	// Everybody marks the sum over all crowds.
	Everybody bool
}

// BrokerView is what is known of the broker at the moment.
type BrokerView struct {
	Configured bool
	Err        error // it cannot be reached, or refuses; nil = it can be used
	Depth      int   // messages that wait in the queue of the job's band
}

// The names of gates. They are stable: scripts look for them.
const (
	GateFinal       = "final"
	GateRedundant   = "redundant"
	GateQuarantined = "quarantined"
	GateRunning     = "running"
	GateNotDue      = "not_due"
	GateSweep       = "sweep"
	GateNoLeader    = "no_leader"
	GatePaused      = "paused"
	GateDisabled    = "kind_disabled"
	GateGroup       = "serial_group"
	GateNoConsumer  = "no_consumer"
	GateKindUnknown = "kind_unknown"
	GateBusy        = "busy"
	GatePosition    = "position"
	GateOutbox      = "outbox"
	GateBrokerAway  = "broker_away"
	GateNoBroker    = "no_broker"
	GateHintLost    = "hint_lost"
)

// Gate is one condition that a job has to pass, or a fact on its way that is worth knowing.
type Gate struct {
	Name     string         `json:"gate"`
	Blocking bool           `json:"blocking"` // the job does not start before this has changed
	Text     string         `json:"text"`
	Facts    map[string]any `json:"facts,omitempty"`
}

// Tick is within which time the sweep looks again.
const Tick = 500 * time.Millisecond

// Gates evaluates the conditions of a claim. Without a blocking one the job starts within one
// tick of the sweep and of the consumers.
func (f Facts) Gates(v BrokerView) []Gate {
	if f.Job.State.Final() {
		return []Gate{f.ended()}
	}
	if f.Job.State == Processing {
		return f.running()
	}
	e := evaluation{Facts: f, broker: v}
	e.time()
	e.queue()
	e.pauses()
	e.group()
	e.consumers()
	e.announcing()
	e.crowd()
	return e.gates
}

// Verdict sums gates up in one word: final, running, blocked or runnable.
func Verdict(gates []Gate) string {
	word := "runnable"
	for _, g := range gates {
		switch {
		case g.Name == GateFinal, g.Name == GateRedundant, g.Name == GateQuarantined:
			return "final"
		case g.Name == GateRunning:
			return "running"
		case g.Blocking:
			word = "blocked"
		}
	}
	return word
}

// ended says what a final job came to, and what a person can do.
func (f Facts) ended() Gate {
	j := f.Job
	g := Gate{Name: GateFinal, Blocking: true, Facts: map[string]any{"state": j.State}}
	g.Text = fmt.Sprintf("it ended as %s", j.State)
	if j.FinishedAt != nil {
		g.Text += " at " + clock(*j.FinishedAt)
		g.Facts["finished_at"] = *j.FinishedAt
	}
	if j.Error != "" {
		g.Text += ": " + firstLine(j.Error)
		g.Facts["error"] = j.Error
	}
	switch j.State {
	case Redundant:
		g.Name = GateRedundant
		if f.KeyHolder != 0 && f.KeyHolder != j.ID {
			g.Text += fmt.Sprintf("; job %d has the key (kind %s, identifier %s)", f.KeyHolder, j.Kind, j.Identifier)
			g.Facts["key_holder"] = f.KeyHolder
		}
	case Quarantined:
		g.Name = GateQuarantined
		g.Facts["crashes"] = j.Crashes
	case Ready, Scheduled, Processing, Waiting, TemporarilyFailed, BrokerFailed, BackToBroker, Finished, PermanentlyFailed, Cancelled:
	}
	return g
}

func (f Facts) running() []Gate {
	j := f.Job
	g := Gate{Name: GateRunning, Blocking: true, Facts: map[string]any{
		"consumer": j.Holder, "host": j.Host, "pid": j.PID, "lease_no": j.LeaseNo, "attempt": j.Attempts,
	}}
	by := Taker{ID: j.Holder, Host: j.Host, PID: j.PID}
	if f.Holder != nil {
		by.Name = f.Holder.Name
	}
	g.Text = by.String() + " runs it"
	if j.AttemptedAt != nil {
		g.Text += fmt.Sprintf(" since %s, for %s", clock(*j.AttemptedAt), round(f.Now.Sub(*j.AttemptedAt)))
		g.Facts["since"] = *j.AttemptedAt
	}
	g.Text += fmt.Sprintf(", lease %d", j.LeaseNo)
	if h := f.Holder; h != nil && h.Alive {
		g.Text += ", which is good until " + clock(h.ExpiresAt)
		g.Facts["holder_alive"], g.Facts["lease_expires_at"] = true, h.ExpiresAt
		return []Gate{g}
	}
	g.Text += "; that consumer's lease has expired, and the sweep hands the job back within seconds"
	g.Facts["holder_alive"] = false
	if f.Leader != "" {
		return []Gate{g}
	}
	return []Gate{g, f.noLeader("nobody hands the job back")}
}

func (f Facts) noLeader(meanwhile string) Gate {
	text := "no consumer sweeps, so " + meanwhile
	if n := f.alive(); n > 0 {
		text += fmt.Sprintf("; one of the %d living ones takes that over within seconds", n)
	} else {
		text += "; start a consumer"
	}
	return Gate{Name: GateNoLeader, Blocking: true, Text: text}
}

func (f Facts) alive() int {
	n := 0
	for _, t := range f.Takers {
		if t.Alive {
			n++
		}
	}
	return n
}

// clock is a time as people read it.
func clock(t time.Time) string { return t.Local().Format(time.RFC3339) }

func round(d time.Duration) time.Duration {
	if d >= 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
