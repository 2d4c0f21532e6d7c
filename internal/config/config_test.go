package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/command"
	"github.com/warrenq/warren/handlers/webhook"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

//nolint:gochecknoglobals // a flag of the test binary
var update = flag.Bool("update", false, "write the golden files")

const day = 24 * time.Hour

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, config.Sources{ReadFile: files{}.read})
	want := config.Config{
		Schema: "warren", QueuePrefix: "warren", Priorities: []int{10, 20, 30, 40, 50}, DefaultQueue: "default",
		Kinds: map[string]config.Kind{}, Notify: config.Notify{Attempts: 5}, MaxArgs: 256 << 10, MaxAttempts: 25,
		Retention: jobstore.Retention{
			jobstore.Finished: 14 * day, jobstore.Redundant: 14 * day, jobstore.Cancelled: 14 * day,
			jobstore.PermanentlyFailed: 90 * day, jobstore.Quarantined: 90 * day,
		},
		Concurrency: 10, Order: "strict", PollInterval: time.Second, HintSize: 50, MaxJobLog: 1 << 20, MaxFile: 16 << 20, DrainTimeout: 25 * time.Second, QueueType: "auto", LogFormat: "auto", LogLevel: "info", Migrate: "auto",
	}
	sameConfig(t, c, &want)
	for _, s := range c.Settings() {
		if s.Origin != "default" {
			t.Errorf("%s has the origin %q, want default", s.Key, s.Origin)
		}
	}
}

// sameConfig compares through JSON, after secrets were compared as texts.
func sameConfig(t *testing.T, got, want *config.Config) {
	t.Helper()
	if string(got.DatabaseURL) != string(want.DatabaseURL) || string(got.AMQPURL) != string(want.AMQPURL) || string(got.Notify.Webhook) != string(want.Notify.Webhook) {
		t.Errorf("the URLs differ: got %s, %s, %s", string(got.DatabaseURL), string(got.AMQPURL), string(got.Notify.Webhook))
	}
	g, err := json.MarshalIndent(got, "", " ")
	w, err2 := json.MarshalIndent(want, "", " ")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if string(g) != string(w) {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestEveryKeyInAFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/warren.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, config.Sources{
		ConfigPath: "shop.yaml",
		ReadFile:   files{"shop.yaml": string(text), "/run/secrets/slow": canary + "\n", "warren.yaml": "not: read"}.read,
	})
	sameConfig(t, c, &config.Config{
		DatabaseURL: "postgres://app:" + canary + "@db.example.org/app?sslmode=verify-full",
		AMQPURL:     "amqps://app:" + canary + "@mq1.example.org,amqps://app:" + canary + "@mq2.example.org",
		Schema:      "jobs", QueuePrefix: "shop.jobs", Priorities: []int{10, 20, 30, 40, 50}, DefaultQueue: "main",
		Kinds: c.Kinds, Notify: config.Notify{Attempts: 3, Webhook: "https://hooks.example.org/services/" + canary}, MaxArgs: 1 << 20, MaxAttempts: 10,
		Retention: jobstore.Retention{
			jobstore.Finished: 7 * day, jobstore.PermanentlyFailed: 30 * day, jobstore.Cancelled: 36 * time.Hour, jobstore.Quarantined: time.Hour,
		},
		Concurrency: 40, Order: "weighted", Weights: warren.Weights{Queues: map[string]int{"default": 2}, Priorities: map[int]int{10: 3}},
		PollInterval: 500 * time.Millisecond, HintSize: 1, MaxJobLog: 8 << 20, MaxFile: 1 << 30, FilesDir: "/srv/files", DrainTimeout: 90 * time.Second, QueueType: "quorum", APIToken: canary, Keys: "2026a:UzNDUjNULUNBTkFSWS03UzNDUjNULUNBTkFSWS03eHg=", LogFormat: "json", LogLevel: "warn",
		Migrate: "never",
	})
	checkKinds(t, c.Kinds)

	var listing strings.Builder
	for _, row := range settings(c) {
		listing.WriteString(row + "\n")
	}
	golden(t, "testdata/settings.golden", listing.String())
	asJSON, err := json.Marshal(c.Settings())
	if all := fmt.Sprintf("%s %+v %#v %v", asJSON, c, c, c.Settings()); err != nil || strings.Contains(all, canary) || strings.Contains(all, "UzNDUjNU") { // base64 of its beginning
		t.Errorf("a secret is shown (or %v): %s", err, all)
	}
}

func checkKinds(t *testing.T, kinds map[string]config.Kind) {
	t.Helper()
	got, want := map[string]config.Kind{}, map[string]config.Kind{
		"mail":   {Queue: "main", Priority: 10, MaxAttempts: 10, Timeout: 30 * time.Second},
		"slow":   {Queue: "main", Priority: 10, MaxAttempts: 10},
		"resize": {Queue: "media", Priority: 30, MaxAttempts: 8, Backoff: []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}},
		"probe":  {Queue: "main", Priority: 10, MaxAttempts: 10},
		"demo": {
			Queue: "main", Priority: 10, GroupSkip: true, MaxErrors: 5, RetryFor: day, Delay: 10 * time.Second, UniqueBy: []string{"to", "what"}, UniqueFor: jobstore.UntilStart,
			Encrypted: true, AcceptPlain: true, Guards: config.Guards{
				RateLimit:  &config.RateLimit{Name: "api", Limit: warren.Limit{Rate: 100, Per: 10 * time.Minute, Burst: 5}, By: []string{"user", "id"}, Drop: true},
				MaxRunning: 3, Breaker: &config.Breaker{Name: "kind.demo", Errors: 5, Within: time.Minute, Cooldown: 10 * time.Minute},
			},
		},
	}
	for name, k := range kinds {
		k.Webhook, k.Command, k.Probe = nil, nil, nil
		got[name] = k
	}
	g, err := json.Marshal(got)
	w, err2 := json.Marshal(want)
	if err := errors.Join(err, err2); err != nil || string(g) != string(w) {
		t.Errorf("kinds are\n%s\nwant\n%s (%v)", g, w, err)
	}
	if w := kinds["mail"].Webhook; *w != (webhook.Config{URL: "http://hook:" + canary + "@127.0.0.1:9000/mail", Secret: "whsec_UzNDUjNULUNBTkFSWS03"}) {
		t.Errorf("mail is %s", w)
	}
	if w := kinds["slow"].Webhook; *w != (webhook.Config{URL: "https://example.org/slow", Secret: canary}) {
		t.Errorf("slow is %s", w)
	}
	r := kinds["resize"].Command
	want2 := command.Config{Run: []string{"/usr/bin/python3", "resize.py"}, Dir: "/srv", Grace: 10 * time.Second}
	if !slices.Equal(r.Run, want2.Run) || r.Dir != want2.Dir || r.Grace != want2.Grace || string(r.Env["TOKEN"]) != canary || len(r.Env) != 1 {
		t.Errorf("resize is %+v", r)
	}
	if kinds["probe"].Probe == nil || kinds["demo"].Probe == nil || kinds["demo"].Webhook != nil || kinds["demo"].Command != nil {
		t.Errorf("probe and demo are not probes")
	}
}

// TestTheTimeoutOfAWebhook has a default, because its other side may never answer.
func TestTheTimeoutOfAWebhook(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"webhook: {url: 'http://h'}":              time.Minute,
		"webhook: {url: 'http://h'}, timeout: 0":  0,
		"webhook: {url: 'http://h'}, timeout: 5s": 5 * time.Second,
		"command: {run: [a]}":                     0,
		"probe: {}":                               0,
	} {
		c, err := load("kinds: {k: {" + text + "}}")
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Kinds["k"].Timeout; got != want {
			t.Errorf("%s: the timeout is %v, want %v", text, got, want)
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := fs.ReadFile(os.DirFS("."), file)
	if err != nil || got != string(want) {
		t.Errorf("%s differs (%v), go test -update writes it; got\n%s", file, err, got)
	}
}

func TestTheStrongerSourceWins(t *testing.T) {
	t.Parallel()
	src := config.Sources{ReadFile: files{
		"warren.yaml":             "schema: from_file\nconcurrency: 3\nretention: {finished: 1d, failed: 2d}\npriorities: [1, 2]\n",
		"/etc/warren/warren.yaml": "schema: not_read",
		"/run/secrets/db":         "postgres://u:" + canary + "@h/db\n",
	}.read}
	src.Environ = []string{
		"PATH=/bin", "AMQP_URL=amqp://twice", "WARREN_CONCURRENCY=4", "WARREN_RETENTION_FINISHED=forever", "WARREN_PRIORITIES=7, 9,8",
		"DATABASE_URL_FILE=/run/secrets/db", "AMQP_URL=none", "WARREN_LOG_LEVEL=", "WARREN_KINDS=probe: {probe: {}, priority: 8}",
	}
	src.Flags = map[string]string{"concurrency": "5", "queue-prefix": "flag", "retention-failed": "3d"}
	c := mustLoad(t, src)
	if string(c.DatabaseURL) != "postgres://u:"+canary+"@h/db" || c.Kinds["probe"].Priority != 8 || c.Concurrency != 5 {
		t.Errorf("got %+v", c)
	}
	for _, want := range []string{
		"database_url=postgres://u:***@h/db (DATABASE_URL_FILE)", "amqp_url=none (AMQP_URL)", "schema=from_file (warren.yaml:1)",
		"concurrency=5 (--concurrency)", "queue_prefix=flag (--queue-prefix)", "retention.finished=forever (WARREN_RETENTION_FINISHED)",
		"retention.failed=3d (--retention-failed)", "retention.cancelled=14d (default)", "priorities=[7, 8, 9] (WARREN_PRIORITIES)",
		"log_level=info (default)", "kinds.probe.priority=8 (WARREN_KINDS)", "kinds.probe.queue=default (default)",
	} {
		if rows := settings(c); !slices.Contains(rows, want) {
			t.Errorf("no row %q in\n%s", want, strings.Join(rows, "\n"))
		}
	}
}

func TestWhichFileIsRead(t *testing.T) {
	t.Parallel()
	here, etc, named := "warren.yaml", "/etc/warren/warren.yaml", "/srv/w.yaml"
	all := files{here: "schema: here", etc: "schema: etc", named: "schema: named"}
	for name, tc := range map[string]struct {
		src  config.Sources
		want string
	}{
		"here first":        {config.Sources{ReadFile: all.read}, "here"},
		"then etc":          {config.Sources{ReadFile: files{etc: all[etc]}.read}, "etc"},
		"named by variable": {config.Sources{ReadFile: all.read, Environ: []string{"WARREN_CONFIG=" + named}}, "named"},
		"named by flag":     {config.Sources{ReadFile: all.read, ConfigPath: named, Environ: []string{"WARREN_CONFIG=/missing"}}, "named"},
		"empty":             {config.Sources{ReadFile: files{here: ""}.read}, "warren"},
		"comments only":     {config.Sources{ReadFile: files{here: "# nothing\n---\n"}.read}, "warren"},
		"no value":          {config.Sources{ReadFile: files{here: "schema:\nretention:\nkinds: ~\n"}.read}, "warren"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c := mustLoad(t, tc.src); c.Schema != tc.want {
				t.Errorf("schema is %q, want %q", c.Schema, tc.want)
			}
		})
	}
	_, err := config.Load(config.Sources{ReadFile: all.read, ConfigPath: "/missing.yaml"})
	wantError(t, err, "--config: open /missing.yaml: file does not exist; give a file that can be read")
	_, err = config.Load(config.Sources{ReadFile: all.read, Environ: []string{"WARREN_CONFIG=/missing.yaml"}})
	wantError(t, err, "WARREN_CONFIG: open /missing.yaml")
	denied := func(path string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	_, err = config.Load(config.Sources{ReadFile: denied})
	wantError(t, err, "open warren.yaml: permission denied; make it readable")
}

// Every value that is shown, and is no secret, can be given as a flag and means the same.
func TestWhatIsShownCanBeGiven(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/warren.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first := mustLoad(t, config.Sources{ReadFile: files{"warren.yaml": string(text), "/run/secrets/slow": "x"}.read})
	flags := map[string]string{}
	for _, s := range first.Settings() {
		if !strings.HasPrefix(s.Key, "kinds.") && !strings.Contains(s.Value, "***") {
			flags[strings.NewReplacer("_", "-", ".", "-").Replace(s.Key)] = s.Value
		}
	}
	second := mustLoad(t, config.Sources{ReadFile: files{}.read, Flags: flags})
	for _, s := range second.Settings() {
		if want, given := flags[strings.NewReplacer("_", "-", ".", "-").Replace(s.Key)]; given && s.Value != want {
			t.Errorf("%s was given %q and shows %q", s.Key, want, s.Value)
		}
	}
	if len(flags) < 15 {
		t.Errorf("only %d flags were tried", len(flags))
	}
}
