package model

// process is what happens to a consumer as a process, and to its registration.
func (m mutant) process(s state, i int, out emitter) {
	c := s.c[i]
	if !c.up {
		out(restart, i, func(n *state) { n.c[i] = consumer{up: true} })
		return
	}
	out(kill, i, func(n *state) { n.requeue(i); n.c[i] = consumer{} })
	if c.unacked && !c.frozen {
		out(reconnect, i, func(n *state) {
			n.requeue(i)
			if n.c[i].phase == hinted {
				n.c[i].phase = idle
			}
		})
	}
	switch {
	case c.frozen:
		if c.unacked {
			out(dropped, i, func(n *state) { n.requeue(i) })
		}
		m.thaws(s, i, out)
	case c.cut:
		out(heal, i, func(n *state) { n.c[i].cut = false })
		if !m.noSelfFencing && c.life != 0 {
			out(fence, i, func(n *state) { n.fence(i) })
		}
	case c.life == 0:
		out(register, i, func(n *state) { n.c[i].life = newLife })
	}
	if !c.frozen && !s.c[1-i].frozen { // somebody has to be left
		out(freeze, i, func(n *state) { n.c[i].frozen = true })
	}
	if !c.frozen && !c.cut {
		out(cut, i, func(n *state) { n.c[i].cut = true })
	}
}

// thaws lets a process go on. Its boot clock has not stopped: when its lease may have ended it fences
// itself before anything else, and what it ran is handed back by its number.
func (m mutant) thaws(s state, i int, out emitter) {
	if m.noSelfFencing || !s.isExpired(s.c[i].life) {
		out(thaw, i, func(n *state) { n.c[i].frozen = false })
		return
	}
	c := s.c[i]
	if c.phase == running && !c.cut && s.row == processing && s.holder == c.life && s.lease == c.lease {
		released(out, thaw, i, func(n *state) { n.c[i].frozen = false; n.fence(i); n.row, n.holder = ready, 0 })
		return
	}
	out(thaw, i, func(n *state) { n.c[i].frozen = false; n.fence(i) })
}

// fence gives everything up that was done under the registration. Numbers that were to be claimed are
// claimed under the next one.
func (s *state) fence(i int) {
	c := &s.c[i]
	switch c.phase {
	case asking, granted:
		c.phase = hinted
	case running, reporting, accepted:
		c.phase = idle
	}
	c.life, c.lease, c.ok = 0, 0, false
}

// expires lets a registration end that nobody renews. A living process renews in time, or has fenced
// itself before: that is what its margins are for.
func (m mutant) expires(s state, emit func(step, state)) {
	for _, life := range []int8{1, 2, 3} { // as tidy has numbered them
		renewed := life != s.c[0].life && life != s.c[1].life && life != s.holder
		for _, c := range s.c {
			renewed = renewed || c.up && c.life == life && !c.frozen && (!c.cut || !m.noSelfFencing)
		}
		if !renewed && !s.isExpired(life) {
			n := s
			n.expired |= 1 << life
			n.tidy()
			emit(expire, n)
		}
	}
}

// claims turns hints into leases. What is under way to the database takes effect whatever has become
// of the process meanwhile.
func (m mutant) claims(s state, i int, out emitter) {
	c := s.c[i]
	switch c.phase {
	case idle:
		if c.hears() && c.life != 0 && s.hints > 0 {
			out(delivered, i, func(n *state) { n.hints--; n.c[i].unacked, n.c[i].phase = true, asking })
		}
	case hinted:
		if c.hears() && c.life != 0 {
			out(claimSent, i, func(n *state) { n.c[i].phase = asking })
		}
	case asking:
		m.claimed(s, i, out)
	case granted:
		if c.hears() {
			answered(out, replyIn, replyLost, i, func(*state) {}, running, asking)
		}
	}
}

// answered is a statement that takes effect, and its reply: it arrives, or is lost, which makes the
// process send the statement again.
func answered(out emitter, in, lost step, i int, change func(n *state), then, again int8) {
	out(in, i, func(n *state) {
		change(n)
		if n.c[i].phase = then; then != asking {
			n.c[i].unacked = false
		}
		if then == idle {
			n.c[i].lease, n.c[i].ok = 0, false
		}
	})
	lost.name = in.name + "; " + lost.name
	out(lost, i, func(n *state) { change(n); n.c[i].phase = again })
}

// effect is answered for a process that hears it now, or later.
func effect(c consumer, out emitter, in, lost step, i int, change func(n *state), then, again, deaf int8) {
	if c.hears() {
		answered(out, in, lost, i, change, then, again)
		return
	}
	out(in, i, func(n *state) { change(n); n.c[i].phase = deaf })
}

func (m mutant) claimed(s state, i int, out emitter) {
	c := s.c[i]
	switch {
	case s.isExpired(c.life):
		if c.hears() {
			out(claimGone, i, func(n *state) { n.c[i].phase, n.c[i].life = hinted, 0 })
		}
	case s.row == processing && s.holder == c.life: // its own claim, whose reply was lost
		effect(c, out, claimAgain, replyLost, i, func(n *state) { n.c[i].lease = s.lease }, running, asking, granted)
	case s.row == ready || m.noCondition && s.row != absent:
		effect(c, out, claimDone, replyLost, i, func(n *state) {
			if s.row == final {
				n.broken = notFinal
			}
			n.row, n.holder, n.outbox, n.excused = processing, c.life, false, false
			if n.sweep == confirmed {
				n.sweep = overtaken
			}
			n.lease++
			n.c[i].lease = n.lease
			if n.lease <= s.lease || n.recorded&(1<<n.lease) != 0 {
				n.broken = leaseReused
			}
		}, running, asking, granted)
	case c.hears():
		out(claimNone, i, func(n *state) { n.c[i].unacked, n.c[i].phase = false, idle })
	}
}

// reports turns what a handler came to into the row's state.
func (m mutant) reports(s state, i int, out emitter) {
	c := s.c[i]
	switch c.phase {
	case running:
		if c.hears() {
			out(handled, i, func(n *state) { n.c[i].phase, n.c[i].ok = reporting, true })
			out(mishap, i, func(n *state) { n.c[i].phase, n.c[i].ok = reporting, false })
		}
	case reporting:
		m.reported(s, i, out)
	case accepted:
		if c.hears() {
			answered(out, told, untold, i, func(*state) {}, idle, reporting)
		}
	}
}

func (m mutant) reported(s state, i int, out emitter) {
	c := s.c[i]
	if !m.noFence && (s.row != processing || s.holder != c.life || s.lease != c.lease) {
		st := fenced
		if s.recorded&(1<<c.lease) != 0 {
			st = before
		}
		if c.hears() {
			out(st, i, func(n *state) { n.c[i].phase, n.c[i].lease, n.c[i].ok = idle, 0, false })
		}
		return
	}
	effect(c, out, record, untold, i, func(n *state) {
		switch bit := uint8(1) << c.lease; {
		case n.recorded&bit != 0:
			n.broken = twoOutcomes
		case c.lease != s.lease:
			n.broken = oldOutcome
		case s.row == final:
			n.broken = notFinal
		default:
			n.recorded |= bit
		}
		n.holder = 0
		n.row = final
		if !c.ok && !n.failure { // its second failure spends the budget
			n.row, n.failure = failed, true
		}
	}, idle, reporting, accepted)
}
