package config_test

import (
	"testing"

	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// A limit's key is a value in args: a text as it is, anything else as JSON, and nothing when it is not there.
func TestRateLimitByArgs(t *testing.T) {
	t.Parallel()
	g := config.Guards{RateLimit: &config.RateLimit{Name: "x", By: []string{"user", "id"}}}.For("k")
	for args, want := range map[string]string{
		`{"user": {"id": "ada"}}`: "ada", `{"user": {"id": 7}}`: "7", `{"user": {"id": [1, null]}}`: "[1,null]",
		`{"user": {"id": null}}`: "", `{"user": "ada"}`: "", `[1]`: "", `{}`: "", `no json`: "",
	} {
		if got := g.RateLimits[0].Key(&jobstore.Job{Args: []byte(args)}); got != want {
			t.Errorf("key of %s is %q, want %q", args, got, want)
		}
	}
	if g := (config.Guards{}).For("k"); len(g.RateLimits)+len(g.Locks)+len(g.Breakers) != 0 {
		t.Errorf("nothing was asked for: %+v", g)
	}
}
