package mutant_test

import (
	"strings"
	"testing"

	"github.com/warrenq/warren/test/chaos/mutant"
)

const root = "../../.."

// A mutant whose text has gone would be the healthy program.
func TestEveryMutantStillMeetsItsText(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range mutant.All() {
		if seen[m.Name] {
			t.Errorf("two mutants are called %q", m.Name)
		}
		seen[m.Name] = true
		for _, e := range m.Edits {
			if e.Old == e.New {
				t.Errorf("mutant %q changes nothing", m.Name)
			}
		}
		if err := m.Check(root); err != nil {
			t.Error(err)
		}
	}
}

func TestATextThatIsNotThereOnceIsAnError(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"no such text anywhere", "\n"} {
		m := mutant.Mutant{Name: "odd", Edits: []mutant.Edit{{File: "jobstore/postgres/claim.go", Old: old}}}
		if err := m.Check(root); err == nil || !strings.Contains(err.Error(), "not once") {
			t.Errorf("%q: %v", old, err)
		}
	}
}
