package model

import "testing"

// Nothing is wrong with serial groups, wherever faults strike.
func TestGroups(t *testing.T) {
	t.Parallel()
	x := explore(group{faults: budget}, groupMutant{}.next)
	if x.bad >= 0 {
		t.Fatal(x.trace())
	}
	t.Logf("%d states", len(x.states))
	if len(x.states) < 10_000 {
		t.Errorf("only %d states: does everything still happen?", len(x.states))
	}
}

// Without any part of what makes a group serial something is.
func TestGroupMutants(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mutant groupMutant
		wrong  violation
	}{
		"a claim does not care for the group's row":            {groupMutant{noGroupRow: true}, twoMembers},
		"a claim does not ask who comes first":                 {groupMutant{noOrder: true}, outOfOrder},
		"an outcome leaves the group's row":                    {groupMutant{keepsRow: true}, late},
		"a rescue leaves the group's row":                      {groupMutant{rescueKeepsRow: true}, late},
		"a fenced outcome removes the group's row":             {groupMutant{freesUnfenced: true}, twoMembers},
		"who comes next is read before the commit":             {groupMutant{headBefore: true}, late},
		"the sweep's own statement reads who comes next":       {groupMutant{dueBefore: true}, late},
		"no sweep for heads":                                   {groupMutant{noHeadsSweep: true}, stuck},
		"an outcome leaves the group's row, and nobody sweeps": {groupMutant{keepsRow: true, noHeadsSweep: true}, stuck},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := explore(group{faults: 1}, c.mutant.next)
			if x.bad < 0 {
				t.Fatalf("nothing is wrong in %d states", len(x.states))
			}
			t.Log(x.trace())
			if x.wrong != c.wrong {
				t.Errorf("found that %s; expected that %s", x.wrong, c.wrong)
			}
		})
	}
}
