package config_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/config"
)

// What the file says of schedules, and what is shown of it.
func TestSchedules(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, config.Sources{ReadFile: files{"warren.yaml": `
schedules:
  nightly:
    {cron: "30 2 * * *", zone: Europe/Berlin, kind: cleanup, args: {older_than: 30d, n: [1, 2.5]}, queue: slow, priority: 20,
     jitter: 5m, catch_up: 0, paused: true, serial_group: g, max_attempts: 0, timeout: 1h, tags: [a, b], metadata: {team: ops}}
  import: {every: 15m, from: 05:00, to: 23:00, kind: import}
  launch: {once: 2030-01-01T00:00:00Z, kind: launch}
  by-hand: {manual: true, kind: report}
`}.read})
	var names []string
	for _, s := range c.Schedules {
		names = append(names, s.Name+": "+s.When.String())
	}
	want := []string{"by-hand: manual", "import: every 15m0s from 05:00 to 23:00", "launch: once 2030-01-01T00:00:00Z", "nightly: cron 30 2 * * *"}
	if !slices.Equal(names, want) {
		t.Errorf("schedules are %q, want %q", names, want)
	}
	s := c.Schedules[3]
	args, ok := s.Args.(json.RawMessage)
	if !ok || string(args) != `{"n":[1,2.5],"older_than":"30d"}` || s.Zone != "Europe/Berlin" || s.Kind != "cleanup" || s.Jitter != 5*time.Minute || *s.CatchUp != 0 ||
		!s.Paused || s.Opts.Queue != "slow" || *s.Opts.Priority != 20 || s.Opts.SerialGroup != "g" || s.Opts.MaxAttempts != warren.Unlimited ||
		s.Opts.Timeout != time.Hour || !slices.Equal(s.Opts.Tags, []string{"a", "b"}) {
		t.Errorf("nightly is %+v, args %s", s, args)
	}
	shown := map[string]string{}
	for _, row := range c.Settings() {
		shown[row.Key] = row.Value
	}
	if shown["schedules.nightly.cron"] != "30 2 * * *" || shown["schedules.import.from"] != "05:00" || shown["schedules.nightly.tags"] != `["a","b"]` {
		t.Errorf("what is shown: %v", shown)
	}
}
