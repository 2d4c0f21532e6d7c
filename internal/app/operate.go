package app

import (
	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// CheckEdit applies the rules of publishing, and the configuration, to a change of a job.
func (a *App) CheckEdit(o warren.EditOpts) (jobstore.Edit, error) {
	registry, err := a.Registry()
	if err != nil {
		return jobstore.Edit{}, err
	}
	client, err := warren.NewClient(a.clientConfig(registry, nil))
	if err != nil {
		return jobstore.Edit{}, usageError{err}
	}
	return client.CheckEdit(o)
}
