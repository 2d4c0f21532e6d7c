package model

import (
	"fmt"
	"strings"
)

// The second model: two members of one serial group, of which the first comes first, and two consumers
// with one slot each. What the first model shows about leases is not repeated: a registration that is
// lost is lost at once, and stays on the row as somebody who is gone.

// members is how many the group has.
const members = 2

// gone is a holder whose registration is lost; others are 1 + the consumer's index.
const gone = consumers + 1

// What a consumer is doing with its one slot, beside idle, asking, running and reporting.
const recorded = accepted + 1 // its outcome took effect; who comes next is not announced yet

// What a handler came to.
const (
	finished = iota
	mishappened
	handedBack
)

// slot is what a consumer does.
type slot struct {
	phase  int8
	job    int8
	lost   bool // it was frozen for longer than its lease
	came   int8
	passed bool // mutant: its claim's snapshot has an unfinished member that comes first
	next   int8 // mutant: the head that was read too early, 1 + its index
}

// group is everything at one moment.
type group struct {
	row     [members]int8
	holder  [members]int8
	running int8 // the group's own row: 1 + the index of the member that runs; 0 = there is none
	hint    [members]bool
	failure bool // a member has failed once already
	freed   bool // the sweep has made a member READY; who comes next is not announced yet
	due     int8 // mutant: its statement is under way: 1 + the member that it makes READY
	quiet   bool // mutant: its snapshot tells it not to announce that one
	c       [consumers]slot
	faults  int8

	// Ghosts.
	excused [members]bool // its hint was lost by a fault that only a sweep makes good
	broken  violation
}

func (g group) ends(prompt bool) bool {
	return g.row == [members]int8{final, final} || prompt && g.excused != [members]bool{}
}

func (g group) violated() violation { return g.broken }

func unfinished(row int8) bool { return row != absent && row != final }

// before reports whether a member stands before j that must run first.
func (g *group) before(j int8) bool { return j > 0 && unfinished(g.row[0]) }

// head is 1 + the member that may be claimed now, 0 for none.
func (g *group) head() int8 {
	for j, row := range g.row {
		if unfinished(row) {
			if row == ready && g.running == 0 {
				return int8(j) + 1
			}
			return 0
		}
	}
	return 0
}

// announce publishes the hint of 1 + a member.
func (g *group) announce(head int8) {
	if head > 0 {
		g.hint[head-1], g.excused[head-1] = true, false
	}
}

// unannounced is a fault that keeps the head's hint from being published.
func (g *group) unannounced() {
	if head := g.head(); head > 0 {
		g.excused[head-1] = true
	}
}

// leave takes away a consumer's registration.
func (g *group) leave(i int) {
	for j, holder := range g.holder {
		if holder == int8(i)+1 {
			g.holder[j] = gone
		}
	}
}

// check finds what must never be true of one moment.
func (g *group) check() {
	if g.broken == none && g.row == [members]int8{processing, processing} {
		g.broken = twoMembers
	}
}

func (g group) String() string {
	var text strings.Builder
	for j, row := range g.row {
		fmt.Fprintf(&text, "%s by %d hint %t; ", [...]string{"absent", "READY", "PROCESSING", "FAILED", "final"}[row], g.holder[j], g.hint[j])
	}
	fmt.Fprintf(&text, "group row of %d", g.running)
	for i, c := range g.c {
		doing := [...]string{"idle", "", "claims", "", "runs", "reports", "", "has recorded"}[c.phase]
		fmt.Fprintf(&text, "; %c %s %d", 'A'+i, doing, c.job)
		if c.lost {
			text.WriteString(" frozen past its lease")
		}
	}
	return text.String()
}
