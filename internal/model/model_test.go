package model

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// budget is how many faults happen in a run, of any kinds. One is enough for each mutant. Three make
// 1.2 million states, in which nothing is wrong either.
const budget = 2

// Nothing is wrong with the protocol, wherever faults strike.
func TestProtocol(t *testing.T) {
	t.Parallel()
	x := explore(begin(budget), mutant{}.next)
	if x.bad >= 0 {
		t.Fatal(x.trace())
	}
	t.Logf("%d states", len(x.states))
	if len(x.states) < 10_000 {
		t.Errorf("only %d states: does everything still happen?", len(x.states))
	}
}

// Without any one of its mechanisms something is.
func TestMutants(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mutant mutant
		wrong  []violation
	}{
		"no conditional claim":      {mutant{noCondition: true}, []violation{twoExecutions, notFinal}},
		"no fence":                  {mutant{noFence: true}, []violation{twoOutcomes, oldOutcome}},
		"no self-fencing":           {mutant{noSelfFencing: true}, []violation{twoExecutions}},
		"no rescue":                 {mutant{noRescue: true}, []violation{stuck}},
		"no outbox sweep":           {mutant{noOutbox: true}, []violation{late}},
		"no lost-hint sweep":        {mutant{noLostHints: true}, []violation{stuck}},
		"marked before its confirm": {mutant{markFirst: true}, []violation{late}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := explore(begin(1), c.mutant.next)
			if x.bad < 0 {
				t.Fatalf("nothing is wrong in %d states", len(x.states))
			}
			t.Log(x.trace())
			if !slices.Contains(c.wrong, x.wrong) {
				t.Errorf("found that %s; expected %v", x.wrong, c.wrong)
			}
		})
	}
}

// Everything that can happen does, and what it stands for exists.
func TestStepsAreReal(t *testing.T) {
	t.Parallel()
	x := explore(begin(1), mutant{}.next)
	seen := map[string]step{}
	for _, s := range x.states {
		mutant{}.next(s, func(st step, _ state) { seen[st.name[strings.LastIndex(st.name, ": ")+1:]] = st })
	}
	for _, g := range explore(group{faults: 1}, groupMutant{}.next).states {
		groupMutant{}.next(g, func(st step, _ group) { seen[st.name[strings.LastIndex(st.name, ": ")+1:]] = st })
	}
	sources := map[string]string{}
	for name, st := range seen {
		file, identifier, _ := strings.Cut(st.place, " ")
		if file == "" {
			continue
		}
		if _, read := sources[file]; !read {
			text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(file)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			sources[file] = string(text)
		}
		if !strings.Contains(sources[file], identifier) {
			t.Errorf("%s: %s has no %s", name, file, identifier)
		}
	}
	if len(seen) < 60 {
		t.Errorf("only %d different steps happen", len(seen))
	}
}
