package handlers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// document is the public form of a job for programs that are not written in Go.
type document struct {
	ID         jobstore.ID     `json:"id"`
	Kind       string          `json:"kind"`
	Args       json.RawMessage `json:"args"`
	Attempt    int             `json:"attempt"`
	Queue      string          `json:"queue"`
	Priority   int             `json:"priority"`
	Identifier string          `json:"identifier"`
	Metadata   json.RawMessage `json:"metadata"`
}

// Document returns the job as one line of JSON without a line break at its end:
//
//	{"id":7,"kind":"mail","args":{…},"attempt":1,"queue":"default","priority":10,"identifier":"","metadata":{}}
//
// Every key is always there: the identifier is "" when the job has none, and empty args and
// metadata are {}. The attempt counts from 1. The error is one of args or metadata that are not
// JSON, which no row holds.
func Document(job *jobstore.Job) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // it is no HTML, and a reader of a log wants to see the "<"
	err := enc.Encode(document{
		ID: job.ID, Kind: job.Kind, Args: orEmpty(job.Args), Attempt: job.Attempts, Queue: job.Queue,
		Priority: job.Priority, Identifier: job.Identifier, Metadata: orEmpty(job.Metadata),
	})
	if err != nil {
		return nil, fmt.Errorf("job %d as JSON: %w", job.ID, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func orEmpty(v json.RawMessage) json.RawMessage {
	return json.RawMessage(cmp.Or(string(v), "{}"))
}
