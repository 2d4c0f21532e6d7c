package model

// The steps of a serial group.
//
//nolint:gochecknoglobals // constants in all but name
var (
	published   = step{name: "a member is committed and announced", place: "jobstore/postgres/insert.go insertSQL"}
	publishDied = step{name: "a member is committed; its publisher dies before it announces", fault: true}

	snapshot     = step{name: "the hint is delivered; the claim's snapshot shows nobody before it", place: "jobstore/postgres/claim.go claimBefore"}
	snapshotNone = step{name: "the hint is delivered; the claim's snapshot refuses it", place: "jobstore/postgres/claim.go claimBefore"}
	groupWon     = step{name: "the claim inserts the group's row and takes effect", place: "jobstore/postgres/claim.go won AS"}
	groupTaken   = step{name: "the claim finds the group's row, or the job taken", place: "jobstore/postgres/claim.go won AS"}
	groupGone    = step{name: "the claim finds its registration gone, and is sent again", place: "jobstore/postgres/claim.go claimMe"}

	handled2  = step{name: "the handler ends well", place: "internal/worker/decide.go Decide"}
	mishap2   = step{name: "the handler ends badly", place: "internal/worker/decide.go Decide"}
	drained   = step{name: "the consumer drains and hands it back", place: "internal/worker/decide.go Decide"}
	groupDone = step{name: "the outcome takes effect and removes the group's row", place: "jobstore/postgres/record.go freed AS"}
	groupLate = step{name: "the outcome is fenced and leaves the group's row alone", place: "jobstore/postgres/record.go freed AS"}
	groupHead = step{name: "who comes next is read after the commit, and announced", place: "jobstore/postgres/heads.go headsOf"}
	groupKill = step{name: "a consumer is killed", fault: true}
	groupIce  = step{name: "a consumer is frozen past its lease", fault: true}
	groupThaw = step{name: "a consumer thaws and fences itself", place: "internal/worker/keeper.go keep"}
	groupBack = step{name: "the rescue hands it back and removes the group's row", place: "jobstore/postgres/rescue.go freed AS"}

	dueDone    = step{name: "the sweep makes the member READY", place: "jobstore/postgres/sweep.go dueSQL"}
	sweepHead  = step{name: "the sweep reads who comes next after its commit, and announces", place: "jobstore/postgres/sweep.go headsOf"}
	sweepDies  = step{name: "the leader dies before it announces who comes next", fault: true}
	dueLooks   = step{name: "the sweep's snapshot finds it due", place: "jobstore/postgres/sweep.go dueSQL"}
	headsSwept = step{name: "the sweep finds a head without a hint", place: "internal/sweeper/hints.go headsOnce", rescue: true}
	mended     = step{name: "the sweep removes a group row whose job does not run", place: "jobstore/postgres/heads.go mendGroupsSQL", rescue: true}

	groupWipe   = step{name: "the broker loses everything it had", fault: true}
	groupDouble = step{name: "a member's hint comes again, or is forged", fault: true}
)

// groupMutant leaves a part of what makes a group serial out.
type groupMutant struct {
	noGroupRow     bool // a claim does not care for the group's row
	noOrder        bool // a claim does not ask who comes first
	keepsRow       bool // an outcome leaves the group's row
	rescueKeepsRow bool // a rescue does
	freesUnfenced  bool // an outcome removes it whatever its lease
	headBefore     bool // an outcome's own statement reads who comes next
	dueBefore      bool // the sweep's own statement does
	noHeadsSweep   bool
}

// next calls emit for everything that can happen in g.
func (m groupMutant) next(g group, emit func(step, group)) {
	out := func(st step, who int, change func(n *group)) {
		n := g
		if st.fault {
			if n.faults == 0 {
				return
			}
			n.faults--
		}
		change(&n)
		n.check()
		if who >= 0 {
			st.name = string(rune('A'+who)) + ": " + st.name
		}
		emit(st, n)
	}
	for j := range int8(members) {
		m.member(g, j, out)
	}
	m.sweep(g, out)
	for i := range g.c {
		m.claim(g, i, out)
		m.work(g, i, out)
		misfortune(g, i, out)
	}
	out(groupWipe, -1, func(n *group) {
		for j, there := range n.hint {
			n.hint[j], n.excused[j] = false, n.excused[j] || there
		}
	})
}

type groupEmitter func(st step, who int, change func(n *group))

func (m groupMutant) member(g group, j int8, out groupEmitter) {
	if g.row[j] == absent {
		out(published, -1, func(n *group) { n.row[j] = ready; n.announce(j + 1) })
		out(publishDied, -1, func(n *group) { n.row[j], n.excused[j] = ready, true })
		return
	}
	out(groupDouble, -1, func(n *group) { n.announce(j + 1) })
	if g.row[j] == processing && g.holder[j] == gone {
		out(groupBack, -1, func(n *group) {
			n.row[j], n.holder[j], n.freed = ready, 0, true
			if !m.rescueKeepsRow && n.running == j+1 {
				n.running = 0
			}
		})
	}
	if g.row[j] != failed {
		return
	}
	if !m.dueBefore {
		out(dueDone, -1, func(n *group) { n.row[j], n.freed = ready, true })
	} else if g.due == 0 {
		out(dueLooks, -1, func(n *group) { n.due, n.quiet = j+1, n.before(j) || n.running != 0 })
	}
}

func (m groupMutant) sweep(g group, out groupEmitter) {
	if g.due > 0 {
		out(dueDone, -1, func(n *group) {
			n.row[n.due-1] = ready
			if !n.quiet {
				n.announce(n.due)
			}
			n.due, n.quiet = 0, false
		})
	}
	if g.freed {
		out(sweepHead, -1, func(n *group) { n.freed = false; n.announce(n.head()) })
		out(sweepDies, -1, func(n *group) { n.freed = false; n.unannounced() })
	}
	if m.noHeadsSweep {
		return
	}
	if head := g.head(); head > 0 && !g.hint[head-1] {
		out(headsSwept, -1, func(n *group) { n.announce(head) })
	}
	if g.running > 0 && g.row[g.running-1] != processing {
		out(mended, -1, func(n *group) { n.running = 0 })
	}
}

// claim is a statement: its snapshot, and what it finds when it locks the newest rows.
func (m groupMutant) claim(g group, i int, out groupEmitter) {
	c := g.c[i]
	switch c.phase {
	case idle:
		for j := range int8(members) {
			switch blocked := g.before(j); {
			case !g.hint[j]:
			case g.row[j] != ready || blocked && !m.noOrder:
				out(snapshotNone, i, func(n *group) { n.hint[j] = false })
			default:
				out(snapshot, i, func(n *group) { n.hint[j] = false; n.c[i] = slot{phase: asking, job: j, passed: blocked} })
			}
		}
	case asking:
		switch {
		case c.lost:
			out(groupGone, i, func(n *group) { n.c[i] = slot{}; n.announce(c.job + 1) })
		case g.row[c.job] != ready || g.running != 0 && !m.noGroupRow:
			out(groupTaken, i, func(n *group) { n.c[i] = slot{} })
		default:
			out(groupWon, i, func(n *group) {
				n.row[c.job], n.holder[c.job], n.running = processing, int8(i)+1, c.job+1
				n.c[i] = slot{phase: running, job: c.job}
				if c.passed {
					n.broken = outOfOrder
				}
			})
		}
	}
}

// work runs the handler and records what it came to.
func (m groupMutant) work(g group, i int, out groupEmitter) {
	c := g.c[i]
	switch {
	case c.phase == running && c.lost:
		out(groupThaw, i, func(n *group) { n.c[i] = slot{} })
	case c.phase == running:
		report := func(came int8) func(n *group) {
			return func(n *group) {
				n.c[i].phase, n.c[i].came = reporting, came
				if m.headBefore && n.row[1-c.job] == ready {
					n.c[i].next = 2 - c.job
				}
			}
		}
		out(handled2, i, report(finished))
		out(mishap2, i, report(mishappened))
		out(drained, i, report(handedBack))
	case c.phase == reporting && g.holder[c.job] == int8(i)+1:
		out(groupDone, i, func(n *group) {
			n.settle(c)
			n.c[i] = slot{phase: recorded, next: c.next}
			if !m.keepsRow && n.running == c.job+1 {
				n.running = 0
			}
		})
	case c.phase == reporting:
		out(groupLate, i, func(n *group) {
			n.c[i] = slot{}
			if m.freesUnfenced && n.running == c.job+1 {
				n.running = 0
			}
		})
	case c.phase == recorded:
		out(groupHead, i, func(n *group) {
			n.c[i] = slot{}
			if m.headBefore {
				n.announce(c.next)
			} else {
				n.announce(n.head())
			}
		})
	}
}

// settle writes an outcome into the row of its job.
func (g *group) settle(c slot) {
	g.holder[c.job] = 0
	switch {
	case c.came == handedBack:
		g.row[c.job] = ready
	case c.came == mishappened && !g.failure: // a second failure spends the budget
		g.row[c.job], g.failure = failed, true
	default:
		g.row[c.job] = final
	}
}

// misfortune is what happens to a consumer as a process. A dead one is started again at once.
func misfortune(g group, i int, out groupEmitter) {
	c := g.c[i]
	if c.phase == idle {
		return
	}
	out(groupKill, i, func(n *group) {
		n.leave(i)
		n.c[i] = slot{}
		switch c.phase {
		case asking: // the broker delivers again what was not acked
			n.announce(c.job + 1)
		case recorded:
			n.unannounced()
		}
	})
	if c.phase != recorded && !c.lost {
		out(groupIce, i, func(n *group) { n.leave(i); n.c[i].lost = true })
	}
}
