// Package mutant breaks the protocol on purpose. A suite that finds nothing proves nothing until it has
// found these. Nothing of it is in the code that is shipped: a mutant is built with an overlay.
package mutant

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Edit replaces a text of a file, which must be there exactly once.
type Edit struct{ File, Old, New string }

// Mutant is a protocol without one of its parts, and the scenario that has to notice.
type Mutant struct {
	Name     string
	Scenario string
	Edits    []Edit
	// SQL takes away what the database itself has against it.
	SQL string
}

// All are the mutants.
func All() []Mutant {
	const (
		claim   = "jobstore/postgres/claim.go"
		record  = "jobstore/postgres/record.go"
		due     = "internal/sweeper/due.go"
		sweeper = "internal/sweeper/sweeper.go"
		fence   = " AND j.lease_no = o.lease AND coalesce(j.holder, 0) = $1::bigint"
		bound   = " AND $1::bigint > 0"
	)
	return []Mutant{
		{Name: "no condition in the claim", Scenario: "doubled hints", SQL: "DROP TRIGGER guard_job ON warren.jobs", Edits: []Edit{
			{claim, "AS known\n    FROM @schema@.jobs_live j\n    WHERE j.id = w.id AND j.state || '' = 'READY'", "AS known\n    FROM @schema@.jobs_live j\n    WHERE j.id = w.id AND j.state IN ('READY', 'PROCESSING')"},
		}},
		{Name: "no fence in record", Scenario: "one consumer frozen", Edits: []Edit{
			{record, "WHERE o.final AND j.id BETWEEN o.id AND o.id" + fence, "WHERE o.final AND j.id = o.id" + bound},
			{record, "WHERE NOT o.final AND j.id BETWEEN o.id AND o.id" + fence, "WHERE NOT o.final AND j.id = o.id" + bound},
		}},
		{Name: "no self-fencing", Scenario: "one consumer cut off from the database", Edits: []Edit{
			{"internal/worker/term.go", "late := bootTime() >= t.deadline", "late := false"},
		}},
		{Name: "no rescue", Scenario: "one consumer killed", Edits: []Edit{
			{sweeper, "\t\t{name: \"rescue\", next: now, once: s.rescueOnce, calm: true},\n", ""},
		}},
		{Name: "no outbox", Scenario: "jobs from SQL", Edits: []Edit{{due, "if (look.Outbox || look.Schedules || look.Flows) && ", "if false && "}}},
		{Name: "no sweep for lost hints", Scenario: "queues purged", Edits: []Edit{{sweeper, "if s.cfg.Depth != nil {", "if false {"}}},
		{Name: "announced before the confirm", Scenario: "hints into the void", Edits: []Edit{{
			due,
			"\t\tlater, away := s.tell(ctx, refs)\n\t\tif done := except(refs, later); len(done) > 0 {\n",
			"\t\tif err := s.cfg.Store.Announced(ctx, except(refs, nil)); err != nil {\n\t\t\treturn err\n\t\t}\n" +
				"\t\tlater, away := s.tell(ctx, refs)\n\t\tif done := except(refs, refs); len(done) > 0 {\n",
		}}},
		{Name: "no unique group row", Scenario: "a better member arrives", Edits: []Edit{{
			claim, " AND (l.serial_group IS NULL OR EXISTS (SELECT FROM won WHERE won.running_id = l.id))", "",
		}}},
	}
}

// Build builds pkg, run in dir, with the edits to the files below root.
func (m *Mutant) Build(ctx context.Context, root, dir, pkg, out string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "warren-mutant-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a few small files in a temporary directory
	overlay, err := m.overlay(root, work)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mutant %q does not compile: %w\n%s", m.Name, err, text)
	}
	return nil
}

// Check reports an edit whose text is not there exactly once.
func (m *Mutant) Check(root string) error {
	_, err := m.texts(root)
	return err
}

// texts are the changed files by their paths.
func (m *Mutant) texts(root string) (map[string]string, error) {
	texts := map[string]string{}
	for _, e := range m.Edits {
		path := filepath.Join(root, e.File)
		text, ok := texts[path]
		if !ok {
			raw, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("mutant %q: %w", m.Name, err)
			}
			text = string(raw)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return nil, fmt.Errorf("mutant %q: %s has %d times, not once, the text\n%s\nthe code has changed; change the mutant with it", m.Name, e.File, n, e.Old)
		}
		texts[path] = strings.Replace(text, e.Old, e.New, 1)
	}
	return texts, nil
}

// overlay writes the changed files and the list of them.
func (m *Mutant) overlay(root, work string) (string, error) {
	texts, err := m.texts(root)
	if err != nil {
		return "", err
	}
	list := struct{ Replace map[string]string }{map[string]string{}}
	for path, text := range texts {
		changed := filepath.Join(work, fmt.Sprintf("%d.go", len(list.Replace)))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", err
		}
		list.Replace[path] = changed
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	path := filepath.Join(work, "overlay.json")
	return path, os.WriteFile(path, raw, 0o600)
}
