package lifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/internal/lifecycle"
)

// A pulse is late only between a beat and the next, or a rest.
func TestPulse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p lifecycle.Pulse
		wait := func(d time.Duration) { <-time.After(d) }
		want := func(what string, d time.Duration) {
			t.Helper()
			if got := p.Since(); got != d {
				t.Errorf("%s: %s since the last beat, want %s", what, got, d)
			}
		}
		wait(time.Hour)
		want("before the first beat", 0)
		p.Beat()
		want("at the beat", 0)
		wait(time.Minute)
		want("a minute later", time.Minute)
		p.Rest()
		wait(time.Minute)
		want("at rest", 0)
		p.Beat()
		wait(time.Second)
		want("after the next beat", time.Second)
	})
}
