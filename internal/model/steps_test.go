package model

// step is one thing that happens: what it stands for, and whether it is a fault.
type step struct {
	name   string
	place  string // file and identifier of what it stands for; "" for what happens to processes and servers
	fault  bool
	free   bool // a fault that costs nothing, because another one came before it
	rescue bool // the lost-hint sweep, which a job should not need unless a fault has lost its hint
}

// The steps of the protocol.
//
//nolint:gochecknoglobals // constants in all but name
var (
	commit      = step{name: "the job is committed", place: "jobstore/postgres/insert.go insertSQL"}
	commitTx    = step{name: "the job is committed by PublishTx or SQL", place: "jobstore/postgres/insert.go insertSQL"}
	announced   = step{name: "the relay announces it", place: "internal/relay/relay.go announce"}
	unsure      = step{name: "the relay's confirm is lost: into the outbox", place: "jobstore/postgres/sweep.go unannouncedSQL", fault: true}
	refusedHint = step{name: "the relay's hint is not taken: into the outbox", place: "jobstore/postgres/sweep.go unannouncedSQL", fault: true}
	died        = step{name: "the producer dies before it announces", fault: true}

	delivered  = step{name: "the hint is delivered, a claim is sent", place: "broker/rabbitmq/receive.go receive"}
	claimSent  = step{name: "the claim is sent under a new registration", place: "internal/dispatch/claiming.go claim"}
	claimDone  = step{name: "the claim takes effect", place: "jobstore/postgres/claim.go claimSQL"}
	claimNone  = step{name: "the claim is refused, the hint is acked", place: "jobstore/postgres/claim.go claimSQL"}
	claimGone  = step{name: "the claim is refused, its registration has expired", place: "jobstore/postgres/claim.go claimMe"}
	claimAgain = step{name: "the claim, repeated, finds what it took", place: "jobstore/postgres/claim.go grantedSQL"}
	replyIn    = step{name: "the claim's reply arrives, the hint is acked", place: "internal/dispatch/brokered.go ack"}
	replyLost  = step{name: "the claim's reply is lost, and it is sent again", place: "internal/dispatch/claiming.go Again", fault: true}

	handled = step{name: "the handler returns nil", place: "internal/worker/decide.go Decide"}
	mishap  = step{name: "the handler fails", place: "internal/worker/decide.go Decide"}
	record  = step{name: "the outcome is recorded", place: "jobstore/postgres/record.go recordSQL"}
	fenced  = step{name: "the outcome is fenced", place: "jobstore/postgres/record.go recordSQL"}
	before  = step{name: "the outcome was recorded before", place: "jobstore/postgres/record.go recordedSQL"}
	told    = step{name: "the outcome's reply arrives", place: "internal/completer/completer.go Completer"}
	untold  = step{name: "the outcome's reply is lost, and it is sent again", place: "internal/completer/completer.go Completer", fault: true}

	due         = step{name: "the sweep makes it READY and announces it", place: "jobstore/postgres/sweep.go dueSQL"}
	outboxSent  = step{name: "the sweep publishes from the outbox, confirmed", place: "internal/sweeper/due.go outboxOnce"}
	outboxLost  = step{name: "the outbox's confirm is lost", place: "internal/sweeper/due.go outboxOnce", fault: true}
	outboxClear = step{name: "the sweep clears announce_at", place: "jobstore/postgres/sweep.go announcedSQL"}
	outboxFail  = step{name: "the outbox's hint is not taken", place: "internal/sweeper/due.go outboxOnce", fault: true}
	leaderDies  = step{name: "the leader dies", fault: true}
	lostHint    = step{name: "the sweep finds that the hint is lost", place: "internal/sweeper/hints.go lostHintsOnce", rescue: true}
	rescued     = step{name: "the rescue hands it back", place: "jobstore/postgres/rescue.go rescueSQL"}

	register = step{name: "registers", place: "jobstore/postgres/hold.go registerSQL"}
	expire   = step{name: "its registration expires", place: "jobstore/postgres/hold.go renewSQL"}
	fence    = step{name: "fences itself", place: "internal/worker/keeper.go keep"}
	thaw     = step{name: "thaws, and checks its lease first", place: "internal/worker/keeper.go keep", fault: true, free: true}
	restart  = step{name: "is started again"}
	heal     = step{name: "reaches the database again"}
	dropped  = step{name: "the broker misses its heartbeats"}

	kill      = step{name: "is killed", fault: true}
	freeze    = step{name: "is frozen", fault: true}
	cut       = step{name: "loses the database", fault: true}
	reconnect = step{name: "loses its session with the broker", fault: true}
	wipe      = step{name: "the broker loses everything", fault: true}
	double    = step{name: "a hint comes again, or is forged", fault: true}
)

// mutant leaves a mechanism of the protocol out. The zero value leaves none out.
type mutant struct {
	noCondition   bool // claims whatever its state
	noFence       bool // records whatever the lease
	noSelfFencing bool // goes on under an expired registration
	noRescue      bool
	noOutbox      bool
	noLostHints   bool
	markFirst     bool // clears announce_at before the confirm
}

// next calls emit for everything that can happen in s.
func (m mutant) next(s state, emit func(step, state)) {
	out := func(st step, who int, change func(n *state)) {
		n := s
		if st.fault && !st.free {
			if n.faults == 0 {
				return
			}
			n.faults--
		}
		change(&n)
		n.check()
		n.tidy()
		if who >= 0 {
			st.name = string(rune('A'+who)) + ": " + st.name
		}
		emit(st, n)
	}
	m.producer(s, out)
	m.sweeper(s, out)
	broker(s, out)
	for i := range s.c {
		m.process(s, i, out)
		if s.c[i].up {
			m.claims(s, i, out)
			m.reports(s, i, out)
		}
	}
	m.expires(s, emit)
}

type emitter func(st step, who int, change func(n *state))

func (m mutant) producer(s state, out emitter) {
	if s.row == absent {
		out(commit, -1, func(n *state) { n.row, n.relay = ready, true })
		out(commitTx, -1, func(n *state) { n.row, n.outbox = ready, true })
	}
	if s.relay {
		out(announced, -1, func(n *state) { n.relay = false; n.publish() })
		out(unsure, -1, func(n *state) { n.relay = false; n.publish(); n.outbox = n.row == ready })
		out(refusedHint, -1, func(n *state) { n.relay = false; n.outbox = n.row == ready })
		out(died, -1, func(n *state) { n.relay = false; n.lost() })
	}
}

// released is a row that some statement has made READY and that whoever ran it announces.
func released(out emitter, st step, who int, change func(n *state)) {
	out(st, who, func(n *state) { change(n); n.publish() })
	st.fault = true
	name := st.name
	st.name = name + "; its hint is not taken: into the outbox"
	out(st, who, func(n *state) { change(n); n.outbox = true })
	st.name = name + "; dies before it announces"
	out(st, who, func(n *state) { change(n); n.lost() })
}

func (m mutant) sweeper(s state, out emitter) {
	if s.row == failed {
		released(out, due, -1, func(n *state) { n.row = ready })
	}
	if s.row == ready && s.outbox && s.sweep == nothing && !m.noOutbox {
		if m.markFirst {
			out(outboxClear, -1, func(n *state) { n.outbox, n.sweep = false, cleared })
		} else {
			out(outboxSent, -1, func(n *state) { n.publish(); n.sweep = confirmed })
			out(outboxLost, -1, func(n *state) { n.publish() })
			out(outboxFail, -1, func(*state) {})
		}
	}
	switch s.sweep {
	case confirmed:
		out(outboxClear, -1, func(n *state) { n.outbox, n.sweep = false, nothing })
		out(leaderDies, -1, func(n *state) { n.sweep = nothing })
	case overtaken:
		// announcedSQL cannot tell the old entry from a new one. The row then waits for the lost-hint sweep.
		out(outboxClear, -1, func(n *state) {
			news := n.outbox
			n.outbox, n.sweep = false, nothing
			if news {
				n.lost()
			}
		})
		out(leaderDies, -1, func(n *state) { n.sweep = nothing })
	case cleared:
		out(outboxSent, -1, func(n *state) { n.publish(); n.sweep = nothing })
		out(outboxFail, -1, func(n *state) { n.sweep = nothing })
	}
	if s.row == ready && s.hints == 0 && !m.noLostHints {
		out(lostHint, -1, func(n *state) { n.publish() })
	}
	if s.row == processing && s.isExpired(s.holder) && !m.noRescue {
		back := func(n *state) {
			n.holder = 0
			if n.crashes++; n.crashes >= mostCrash {
				n.row = final
			} else {
				n.row = ready
			}
		}
		if s.crashes+1 >= mostCrash {
			out(rescued, -1, back)
		} else {
			released(out, rescued, -1, back)
		}
	}
}

func broker(s state, out emitter) {
	out(wipe, -1, func(n *state) {
		n.hints = 0
		n.lost()
		for i := range n.c {
			n.c[i].unacked = false
			if n.c[i].phase == hinted {
				n.c[i].phase = idle
			}
		}
	})
	if s.row != absent && s.hints < mostHints {
		out(double, -1, func(n *state) { n.hints++ })
	}
}
