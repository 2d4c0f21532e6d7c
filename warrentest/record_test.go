package warrentest_test

import (
	"fmt"
	"sync"
	"testing"
)

// recorder is a test that may fail: it keeps why.
type recorder struct {
	testing.TB

	mu     sync.Mutex
	failed string
}

// Fatalf ends the test's goroutine, as a real one does.
func (r *recorder) Fatalf(format string, args ...any) {
	r.mu.Lock()
	r.failed += fmt.Sprintf(format, args...)
	r.mu.Unlock()
	panic(r)
}

// record runs f as a test and returns why it failed, "" when it did not.
func record(t *testing.T, f func(tb testing.TB)) (failed string) {
	t.Helper()
	r := &recorder{TB: t}
	defer func() {
		if v := recover(); v != nil && v != any(r) {
			panic(v)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		failed = r.failed
	}()
	f(r)
	return ""
}
