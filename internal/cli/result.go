package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// result is what an order came to.
type result struct {
	Verb    string             `json:"verb"`
	DryRun  bool               `json:"dry_run"`
	Jobs    int                `json:"jobs"`
	IDs     []jobstore.ID      `json:"ids"`
	Refused []jobstore.Refusal `json:"refused"`
	// LeftAlone counts the refused; the list keeps the first maxRefusals.
	LeftAlone int `json:"refused_count"`

	// Oldest is when the first of the jobs was published; of a dry run.
	Oldest *time.Time `json:"oldest,omitempty"`
	// Change is the number under which a mass change was written down.
	Change jobstore.ChangeID `json:"change,omitempty"`

	past    string
	missing int
}

// maxRefusals bounds what a mass change remembers of those it could not change.
const maxRefusals = 1000

func (r *result) add(c jobstore.Changed) {
	r.IDs = append(r.IDs, c.Done...)
	r.Jobs = len(r.IDs)
	for _, no := range c.Refused {
		r.LeftAlone++
		if no.Missing() {
			r.missing++
		}
		if len(r.Refused) < maxRefusals {
			r.Refused = append(r.Refused, no)
		}
	}
}

// see looks at the jobs that a dry run is about.
func (r *result) see(found []jobstore.Target) {
	for _, t := range found {
		if r.Oldest == nil || t.CreatedAt.Before(*r.Oldest) {
			r.Oldest = &t.CreatedAt
		}
	}
}

// hint says how to take a change back. Programs read the number.
func (r *result) hint(w io.Writer, f format, verb jobstore.Verb) {
	if f == formatTable && r.Change > 0 && r.Jobs > 0 && verb.Undoable() {
		fmt.Fprintf(w, "this was change %d; 'warren changes undo %d' takes it back for jobs that have not started\n", r.Change, r.Change)
	}
}

// print says what was done, on stdout.
func (r *result) print(w io.Writer, f format) error {
	switch f {
	case formatJSON:
		return printJSON(w, r)
	case formatLines:
		return r.printLines(w)
	case formatTable:
	}
	did := r.past
	if r.DryRun {
		did = "would " + r.Verb
	}
	if _, err := fmt.Fprintf(w, "%s %s%s\n", did, count(r.Jobs), numbers(r.IDs)); err != nil || r.Oldest == nil {
		return err
	}
	_, err := fmt.Fprintf(w, "the oldest was published at %s\n", r.Oldest.Local().Format(time.RFC3339))
	return err
}

func (r *result) printLines(w io.Writer) error {
	enc := json.NewEncoder(w)
	did := r.past
	if r.DryRun {
		did = "would be " + r.past
	}
	type line struct {
		ID     jobstore.ID    `json:"id"`
		Result string         `json:"result"`
		State  jobstore.State `json:"state,omitempty"`
		Reason string         `json:"reason,omitempty"`
	}
	for _, id := range r.IDs {
		if err := enc.Encode(line{ID: id, Result: did}); err != nil {
			return err
		}
	}
	for _, no := range r.Refused {
		if err := enc.Encode(line{no.ID, "refused", no.State, no.Reason}); err != nil {
			return err
		}
	}
	return nil
}

// err is what the order could not do; nil when it did everything.
func (r *result) err() error {
	if r.LeftAlone == 0 {
		return nil
	}
	const shown = 10
	var reasons []string
	for _, no := range r.Refused[:min(shown, len(r.Refused))] {
		reasons = append(reasons, no.Reason)
	}
	text := strings.Join(reasons, "\n")
	if all := r.Jobs + r.LeftAlone; all > 1 {
		left := "left alone"
		if r.DryRun {
			left = "to be left alone"
		}
		text = fmt.Sprintf("%s: %d of %s:\n%s", left, r.LeftAlone, count(all), text)
	}
	if more := r.LeftAlone - len(reasons); more > 0 {
		text += fmt.Sprintf("\n… and %d more", more)
	}
	if r.missing == r.LeftAlone {
		return fmt.Errorf("%w: %s", jobstore.ErrNotFound, text)
	}
	return refusedf("%s", text)
}

func count(n int) string {
	if n == 1 {
		return "1 job"
	}
	return strconv.Itoa(n) + " jobs"
}

// numbers lists the first jobs.
func numbers(ids []jobstore.ID) string {
	if len(ids) == 0 {
		return ""
	}
	const shown = 20
	var list []string
	for _, id := range ids[:min(shown, len(ids))] {
		list = append(list, strconv.FormatInt(int64(id), 10))
	}
	text := ": " + strings.Join(list, ", ")
	if more := len(ids) - len(list); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
