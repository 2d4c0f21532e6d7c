package model

import (
	"fmt"
	"slices"
	"strings"
)

// mostStates ends the search of a mutant that runs wild.
const mostStates = 2_000_000

// moment is a state of a model: everything there is, comparable, because two equal ones have the same
// future.
type moment interface {
	comparable
	// ends reports whether nothing needs to follow. prompt leaves the lost-hint sweep out, for jobs
	// whose hint no fault has lost.
	ends(prompt bool) bool
	violated() violation
	String() string
}

// search has every state that can be reached, in the order of the fewest steps.
type search[S moment] struct {
	states []S
	number map[S]int32
	from   []int32 // the state before, and the step that led here
	by     []string
	back   [][]edge  // steps that lead to a state
	bad    int32     // the first state with a violation, -1 for none
	wrong  violation // that one
}

type edge struct {
	from   int32
	rescue bool
}

// explore goes through everything that can happen from a state on. It ends with the first violation.
func explore[S moment](first S, next func(s S, emit func(step, S))) *search[S] {
	x := &search[S]{number: map[S]int32{}, bad: -1}
	x.add(first, -1, "")
	for at := int32(0); int(at) < len(x.states) && x.bad < 0 && len(x.states) < mostStates; at++ {
		next(x.states[at], func(st step, n S) {
			to, known := x.number[n]
			if !known {
				to = x.add(n, at, st.name)
			}
			if !st.fault { // what follows without faults
				x.back[to] = append(x.back[to], edge{at, st.rescue})
			}
			if n.violated() != none && x.bad < 0 {
				x.bad, x.wrong = to, n.violated()
			}
		})
	}
	if x.bad < 0 {
		x.liveness(false, stuck)
	}
	if x.bad < 0 {
		x.liveness(true, late)
	}
	return x
}

func (x *search[S]) add(s S, from int32, by string) int32 {
	n := int32(len(x.states))
	x.number[s] = n
	x.states, x.from, x.by, x.back = append(x.states, s), append(x.from, from), append(x.by, by), append(x.back, nil)
	return n
}

// liveness looks for a state from which no way without faults ends the job. There being a way from
// every state is enough: whatever happens meanwhile, there still is one, and fair processes take it.
func (x *search[S]) liveness(prompt bool, wrong violation) {
	ends := make([]bool, len(x.states))
	var todo []int32
	for i, s := range x.states {
		if s.ends(prompt) {
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
	if i := slices.Index(ends, false); i >= 0 {
		x.bad, x.wrong = int32(i), wrong
	}
}

// trace tells how the violation came about.
func (x *search[S]) trace() string {
	var lines []string
	for at := x.bad; at >= 0; at = x.from[at] {
		lines = append(lines, fmt.Sprintf("%-55s %s", x.by[at], x.states[at]))
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s, after %d steps:\n", x.wrong, len(lines)-1)
	for _, line := range slices.Backward(lines) {
		text.WriteString("  " + line + "\n")
	}
	return text.String()
}
