package testenv_test

import (
	"context"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience bounds the waits of these tests; only a broken server uses it up.
const patience = 60 * time.Second

// wait is a context that ends with the test or when patience is spent.
func wait(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
