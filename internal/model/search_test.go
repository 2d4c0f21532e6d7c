package model

import (
	"fmt"
	"slices"
	"strings"
)

// mostStates ends the search of a mutant that runs wild.
const mostStates = 2_000_000

// search has every state that can be reached, in the order of the fewest steps.
type search struct {
	states []state
	number map[state]int32
	from   []int32 // the state before, and the step that led here
	by     []string
	back   [][]edge // steps that lead to a state
	bad    int32    // the first state with a violation, -1 for none
}

type edge struct {
	from   int32
	rescue bool
}

func begin(faults int8) state {
	s := state{faults: faults}
	for i := range s.c {
		s.c[i] = consumer{up: true, life: int8(i + 1)}
	}
	return s
}

// explore goes through everything that can happen. It ends with the first violation.
func explore(m mutant, faults int8) *search {
	x := &search{number: map[state]int32{}, bad: -1}
	x.add(begin(faults), -1, "")
	for at := int32(0); int(at) < len(x.states) && x.bad < 0 && len(x.states) < mostStates; at++ {
		emit := func(st step, n state) {
			to, known := x.number[n]
			if !known {
				to = x.add(n, at, st.name)
			}
			if !st.fault { // what follows without faults
				x.back[to] = append(x.back[to], edge{at, st.rescue})
			}
			if n.broken != none && x.bad < 0 {
				x.bad = to
			}
		}
		m.next(x.states[at], emit)
		m.expires(x.states[at], emit)
	}
	if x.bad < 0 {
		x.liveness(false, stuck)
	}
	if x.bad < 0 {
		x.liveness(true, late)
	}
	return x
}

func (x *search) add(s state, from int32, by string) int32 {
	n := int32(len(x.states))
	x.number[s] = n
	x.states, x.from, x.by, x.back = append(x.states, s), append(x.from, from), append(x.by, by), append(x.back, nil)
	return n
}

// liveness looks for a state from which no way without faults ends the job. There being a way from
// every state is enough: whatever happens meanwhile, there still is one, and fair processes take it.
// prompt leaves the lost-hint sweep out, for jobs whose hint no fault has lost.
func (x *search) liveness(prompt bool, wrong violation) {
	ends := make([]bool, len(x.states))
	var todo []int32
	for i, s := range x.states {
		if s.row == final || prompt && s.excused {
			ends[i] = true
			todo = append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, e := range x.back[at] {
			if !ends[e.from] && (!prompt || !e.rescue) {
				ends[e.from] = true
				todo = append(todo, e.from)
			}
		}
	}
	for i := range x.states {
		if !ends[i] {
			x.bad = int32(i)
			x.states[i].broken = wrong
			return
		}
	}
}

// trace tells how the violation came about.
func (x *search) trace() string {
	var lines []string
	for at := x.bad; at >= 0; at = x.from[at] {
		lines = append(lines, fmt.Sprintf("%-55s %s", x.by[at], &x.states[at]))
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s, after %d steps:\n", x.states[x.bad].broken, len(lines)-1)
	for _, line := range slices.Backward(lines) {
		text.WriteString("  " + line + "\n")
	}
	return text.String()
}
