package app

import (
	"context"
	"errors"

	"github.com/warrenq/warren"
)

// RotateKeys encrypts all stored args anew that another than the first configured key has encrypted. In a dry
// run it only counts.
func (a *App) RotateKeys(ctx context.Context, dryRun bool) (warren.Rotated, error) {
	if a.Config.Keys == "" {
		return warren.Rotated{}, usageError{errors.New("there are no keys; make one with 'warren keys generate' and set WARREN_KEYS or WARREN_KEYS_FILE")}
	}
	registry, err := a.Registry()
	if err != nil {
		return warren.Rotated{}, err
	}
	client, err := warren.NewClient(a.clientConfig(registry, nil))
	if err != nil {
		return warren.Rotated{}, usageError{err}
	}
	return client.RotateKeys(ctx, a.Store, dryRun)
}
