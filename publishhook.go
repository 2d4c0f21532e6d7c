package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// PublishHook is called with each job before it is checked and written, wherever this program publishes it,
// and may change it. Its error refuses the job and with it all that were to be published together.
// It is not called for jobs that schedules and series make by themselves.
type PublishHook func(ctx context.Context, item *Item) error

// AddMetadata adds a member to the metadata of a job, unless it has one of that name. The job's own
// metadata must be an object, or none.
func (i *Item) AddMetadata(name string, value any) error {
	members, err := i.metadata()
	if err != nil {
		return inField("metadata", fmt.Errorf("%w, so that %q cannot be added", err, name))
	}
	if _, there := members[name]; there {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return inField("metadata", fmt.Errorf("metadata %q: %w", name, err))
	}
	members[name] = text
	i.Opts.Metadata = members
	return nil
}

// metadata returns the members in a map of their own.
func (i *Item) metadata() (map[string]json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	if i.Opts.Metadata == nil {
		return members, nil
	}
	text, err := encode(i.Opts.Metadata)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return nil, fmt.Errorf("metadata is %.40s, which is no JSON object", text)
	}
	return members, nil
}

// newJobs makes jobs of items: hooks first, then defaults and checks. An error about one of several names its index.
func (r *rules) newJobs(ctx context.Context, items []Item) ([]jobstore.NewJob, error) {
	jobs := make([]jobstore.NewJob, len(items))
	for i, item := range items {
		if typed, ok := item.Args.(Args); ok && item.Kind == "" {
			item.Kind = typed.Kind()
		}
		job, err := r.hooked(ctx, item)
		if err != nil {
			if len(items) > 1 {
				err = &ItemError{Index: i, Err: err}
			}
			return nil, err
		}
		jobs[i] = job
	}
	return jobs, nil
}

func (r *rules) hooked(ctx context.Context, item Item) (jobstore.NewJob, error) {
	for _, hook := range r.hooks {
		if err := hook(ctx, &item); err != nil {
			if _, about := errors.AsType[*FieldError](err); about {
				err = invalidJobError{err}
			}
			return jobstore.NewJob{}, fmt.Errorf("publish hook: %w", err)
		}
	}
	if err := errors.Join(item.expires(), item.createdBy()); err != nil {
		return jobstore.NewJob{}, invalidJobError{err}
	}
	job, err := r.newJob(item.Kind, item.Args, item.Opts)
	if err != nil {
		return job, invalidJobError{err}
	}
	return job, nil
}
