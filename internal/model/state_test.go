package model

import (
	"fmt"
	"strings"
)

// The states of the row.
const (
	absent = iota
	ready
	processing
	failed // TEMPORARILY_FAILED, and due
	final  // FINISHED, PERMANENTLY_FAILED or QUARANTINED
)

// What a consumer is doing with its one slot.
const (
	idle      = iota
	hinted    // it has a number to claim, and no registration
	asking    // its claim is under way to the database
	granted   // the claim took effect while the process could not hear of it
	running   // the handler runs
	reporting // the outcome is under way to the database
	accepted  // it took effect while the process could not hear of it
)

// What the sweep has in hand for the outbox.
const (
	nothing   = iota
	confirmed // the broker has confirmed; announce_at is not cleared yet
	overtaken // likewise, and the job has been claimed since: what is in the outbox now may be news
	cleared   // mutant: announce_at is cleared; not published yet
)

const (
	consumers = 2
	mostHints = 2
	mostCrash = 3
)

// consumer is one process. A dead one has the zero value.
type consumer struct {
	up, frozen bool
	cut        bool // it cannot reach the database
	life       int8 // its registration; 0 = none
	phase      int8
	lease      int8 // that it runs under, or reports about
	ok         bool // the outcome is FINISHED
	unacked    bool // a delivery of its session is not settled
}

// state is everything at one moment. It is comparable: two equal states have the same future.
type state struct {
	row     int8
	holder  int8 // a life
	lease   int8
	crashes int8
	outbox  bool // announce_at is set
	failure bool // the job has failed once already
	hints   int8 // messages in the queue
	relay   bool // the producer has committed and not announced
	sweep   int8
	expired uint8 // lives whose registration has expired, as bits
	c       [consumers]consumer
	faults  int8 // that are left

	// Ghosts: nothing in the protocol reads them.
	recorded uint8 // leases whose outcome was accepted, as bits
	excused  bool  // the hint of this READY row was lost by a fault that only the lost-hint sweep makes good
	broken   violation
}

type violation int8

const (
	none violation = iota
	twoOutcomes
	oldOutcome
	notFinal
	twoExecutions
	leaseReused
	stuck
	late
	twoMembers
	outOfOrder
)

func (v violation) String() string {
	return [...]string{
		"nothing is wrong", "two outcomes were accepted for one attempt", "the outcome of an old attempt was accepted",
		"a final state was left", "two processes execute the job, and neither is frozen", "a lease number did not grow",
		"the job is lost: nothing that can still happen without further faults finishes it",
		"nothing but the sweep for lost hints finishes the job, though no fault has lost its hint",
		"two members of a serial group are PROCESSING", "a claim passed over a member that comes first",
	}[v]
}

func (s *state) isExpired(life int8) bool { return s.expired&(1<<life) != 0 }

// publish puts a hint into the queue. More than mostHints make no difference.
func (s *state) publish() {
	s.hints = min(s.hints+1, mostHints)
	s.excused = false
}

// lost is a fault that takes a hint along.
func (s *state) lost() {
	if s.row == ready && (!s.outbox || s.sweep == confirmed) {
		s.excused = true
	}
}

// requeue ends what the broker knows of a consumer's session.
func (s *state) requeue(i int) {
	if s.c[i].unacked {
		s.c[i].unacked = false
		s.hints = min(s.hints+1, mostHints)
	}
}

// hears reports whether a reply can arrive.
func (c consumer) hears() bool { return !c.frozen && !c.cut }

// executing reports whether a consumer's handler runs and nobody has stopped the process.
func (c consumer) executing() bool { return c.up && !c.frozen && c.phase == running }

// newLife is a number for a registration until tidy gives it another.
const newLife = 7

// tidy numbers the lives anew, because only who has the same one matters: those of the two consumers,
// and that of a holder that is neither.
func (s *state) tidy() {
	var to [newLife + 1]int8
	next := int8(1)
	for _, life := range []*int8{&s.c[0].life, &s.c[1].life, &s.holder} {
		if *life != 0 && to[*life] == 0 {
			to[*life] = next
			next++
		}
	}
	expired := s.expired
	s.expired = 0
	for life, n := range to {
		if n != 0 && expired&(1<<life) != 0 {
			s.expired |= 1 << n
		}
	}
	s.holder, s.c[0].life, s.c[1].life = to[s.holder], to[s.c[0].life], to[s.c[1].life]
}

// check finds what must never be true of one moment.
func (s *state) check() {
	if s.broken == none && s.c[0].executing() && s.c[1].executing() {
		s.broken = twoExecutions
	}
}

// begin is before everything: nothing is published, and two consumers are registered.
func begin(faults int8) state {
	s := state{faults: faults}
	for i := range s.c {
		s.c[i] = consumer{up: true, life: int8(i + 1)}
	}
	return s
}

func (s state) ends(prompt bool) bool { return s.row == final || prompt && s.excused }

func (s state) violated() violation { return s.broken }

func (s state) String() string {
	row := [...]string{"absent", "READY", "PROCESSING", "TEMPORARILY_FAILED", "final"}[s.row]
	var text strings.Builder
	fmt.Fprintf(&text, "%s lease %d", row, s.lease)
	if s.row == processing {
		fmt.Fprintf(&text, " of life %d", s.holder)
	}
	fmt.Fprintf(&text, ", %d hints", s.hints)
	if s.outbox {
		text.WriteString(", outbox")
	}
	for i, c := range s.c {
		doing := [...]string{
			"idle", "has a number", "claims", "was granted", "runs", "reports", "was accepted",
		}[c.phase]
		switch {
		case !c.up:
			doing = "dead"
		case c.frozen:
			doing += ", frozen"
		case c.cut:
			doing += ", without database"
		}
		fmt.Fprintf(&text, "; %c (life %d) %s", 'A'+i, c.life, doing)
	}
	return text.String()
}
