package app

import "github.com/warrenq/warren"

// Schedules looks at schedules and changes them, with the rules of the configuration.
func (a *App) Schedules() (*warren.Schedules, error) {
	registry, err := a.Registry()
	if err != nil {
		return nil, err
	}
	client, err := warren.NewClient(a.clientConfig(registry, nil))
	if err != nil {
		return nil, usageError{err}
	}
	return client.Schedules(a.Store), nil
}
