package steps

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// encodeBatch is how many steps one statement writes.
const encodeBatch = 1000

// encoded is a row as the stores' statements read it.
type encoded struct {
	ID        jobstore.StepID    `json:"id"`
	Flow      jobstore.StepID    `json:"flow"`
	Parent    jobstore.StepID    `json:"parent"`
	Name      string             `json:"name"`
	Role      jobstore.StepRole  `json:"role"`
	State     jobstore.StepState `json:"state"`
	Waits     int                `json:"waits"`
	Came      int                `json:"came"`
	Total     int                `json:"total"`
	Open      int                `json:"open"`
	Done      int                `json:"done"`
	Failed    int                `json:"failed"`
	Cancelled int                `json:"cancelled"`
	Allow     int                `json:"allow"`
	Percent   int                `json:"percent"`
	Filled    int                `json:"filled"`
	Passed    bool               `json:"passed"`
	Calling   bool               `json:"calling"`
	Jobs      []jobstore.NewJob  `json:"jobs,omitempty"`
}

// Encode makes lists of JSON objects of rows, for one statement each.
func Encode(rows []*Row) (out []string, err error) {
	for batch := range slices.Chunk(rows, encodeBatch) {
		list := make([]encoded, len(batch))
		for i, r := range batch {
			list[i] = encoded{
				ID: r.ID, Flow: r.Flow, Parent: r.Parent, Name: r.Name, Role: r.Role, State: r.State, Waits: r.Waits, Came: r.Came,
				Total: r.Total, Open: r.Open, Done: r.Done, Failed: r.Failed, Cancelled: r.Cancelled, Allow: r.Allow,
				Percent: r.Percent, Filled: r.Filled, Passed: r.Passed, Calling: r.Calling, Jobs: r.Jobs,
			}
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("%w: the jobs of a step: %w", jobstore.ErrInvalid, err)
		}
		out = append(out, string(text))
	}
	return out, nil
}
