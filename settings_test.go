package warren_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
	"github.com/warrenq/warren/warrentest"
)

// mailSettings are the settings of kind mail in these tests.
type mailSettings struct {
	Batch int     `json:"batch"`
	Feed  mailURL `json:"feed"`
}

type mailURL struct {
	URL   string   `json:"url"`
	Retry *float64 `json:"retry,omitempty"`
}

// onFile is a store on a file of the test's own.
func onFile(t *testing.T) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "w.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// An attempt that runs sees the settings change; what does not fit changes nothing.
func TestSettingsAreLive(t *testing.T) {
	t.Parallel()
	store := onFile(t)
	seen := make(chan mailSettings)
	r := handle(func(ctx context.Context, _ *warren.Job[mail]) error {
		for {
			select {
			case seen <- warren.Settings[mailSettings](ctx):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}, warren.KindOpts{Settings: mailSettings{Batch: 100, Feed: mailURL{URL: "http://a"}}})
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Registry: r, Concurrency: 1, Heartbeat: warren.Heartbeat{TTL: time.Second}, DrainTimeout: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if _, err := consumer.Client().Publish(ctx, mail{To: "a"}); err != nil {
		t.Fatal(err)
	}
	await := func(want mailSettings) {
		t.Helper()
		for got := range seen {
			if got == want {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("the settings are %+v, want %+v", got, want)
			}
		}
	}
	set := func(was, now string) {
		t.Helper()
		if err := store.SetKindSettings(ctx, "mail", json.RawMessage(was), json.RawMessage(now)); err != nil {
			t.Fatal(err)
		}
	}
	await(mailSettings{Batch: 100, Feed: mailURL{URL: "http://a"}})
	set("", `{"feed":{"url":"http://b"}}`)
	await(mailSettings{Batch: 100, Feed: mailURL{URL: "http://b"}})
	set(`{"feed":{"url":"http://b"}}`, `{"batch":"many"}`) // which the commands refuse
	set(`{"batch":"many"}`, `{"batch":7}`)
	await(mailSettings{Batch: 7, Feed: mailURL{URL: "http://a"}})
	kinds, err := store.Kinds(ctx)
	if err != nil || len(kinds) != 1 || !strings.Contains(string(kinds[0].SettingsSchema), `"maximum"`) || string(kinds[0].Defaults) != `{"batch":100,"feed":{"url":"http://a"}}` {
		t.Fatalf("registered %+v: %v", kinds, err)
	}
}

// Where there is no database of settings, or the program asks for another type.
func TestSettingsOfNobody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts warren.KindOpts
		ask  func(ctx context.Context)
		want string
	}{
		"defaults":     {warren.KindOpts{Settings: mailSettings{Batch: 3}}, func(ctx context.Context) { _ = warren.Settings[mailSettings](ctx) }, ""},
		"none":         {warren.KindOpts{}, func(ctx context.Context) { _ = warren.Settings[mailSettings](ctx) }, "the kind has no settings"},
		"another type": {warren.KindOpts{Settings: mailSettings{}}, func(ctx context.Context) { _ = warren.Settings[int](ctx) }, "are a warren_test.mailSettings, not a int"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := handle(func(ctx context.Context, _ *warren.Job[mail]) error { c.ask(ctx); return nil }, c.opts)
			inline, err := warren.NewInline(warren.InlineConfig{Registry: r})
			if err != nil {
				t.Fatal(err)
			}
			_, err = inline.Publish(t.Context(), mail{To: "a"})
			if text := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(text, c.want) && c.want != "" {
				t.Errorf("the attempt says %q, want %q", text, c.want)
			}
		})
	}
}

// holdsItself has no end.
type holdsItself struct{ Next *holdsItself }

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]any{
		"settings are a struct, not int": 5,
		"holds itself":                   holdsItself{},
		"a chan int cannot be a setting": struct{ C chan int }{},
		"a key with a dot": struct {
			A int `json:"a.b"`
		}{},
		"at most 65536 are allowed":  struct{ S string }{strings.Repeat("x", 70_000)},
		"settings are a JSON object": json.RawMessage(`[1]`),
		"no JSON":                    json.RawMessage(`{`),
	} {
		r := handle(func(context.Context, *warren.Job[mail]) error { return nil }, warren.KindOpts{Settings: v})
		_, err := warren.NewClient(warren.ClientConfig{Store: onFile(t), Registry: r})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want %q", v, err, want)
		}
	}
}

// sync and its kin are args of actions.
type syncStock struct{}

func (syncStock) Kind() string { return "product.sync_stock" }

func TestGroup(t *testing.T) {
	t.Parallel()
	nothing := func(context.Context, *jobstore.Job) error { return nil }
	var ran []string
	g := warren.HandleArgs(warren.Group("product"), "syncStock", func(_ context.Context, job *warren.Job[syncStock]) error {
		ran = append(ran, job.Kind)
		return nil
	}, warren.KindOpts{Describe: warren.Describe{Title: "Stock"}}).Handle("cleanup-old-data", nothing, warren.KindOpts{Describe: warren.Describe{Scope: "shop"}})
	var r warren.Registry
	r.Add(g)
	if got := fmt.Sprint(r.Kinds()); got != "[product.cleanup_old_data product.sync_stock]" {
		t.Fatalf("kinds %s", got)
	}
	env := warrentest.New(t, &r)
	if _, err := env.Client().Publish(t.Context(), syncStock{}); err != nil {
		t.Fatal(err)
	}
	env.Drain()
	if fmt.Sprint(ran) != "[product.sync_stock]" {
		t.Errorf("ran %v", ran)
	}
	client, err := warren.NewClient(warren.ClientConfig{Store: onFile(t), Registry: &r})
	if err != nil {
		t.Fatal(err)
	}
	kinds := client.Settings().Kinds
	if kinds[0].Scope != "shop" || kinds[1].Scope != "product" || kinds[1].Title != "Stock" {
		t.Errorf("kinds %+v", kinds)
	}
	for name, want := range map[string]string{
		"sync_stock": "product.sync_stock", "cleanup-old-data": "product.cleanup_old_data", "syncStock": "product.sync_stock",
		"_import--all_": "product.import_all", "Import2Times": "product.import2_times",
	} {
		if kind, err := g.Kind(name); err != nil || kind != want {
			t.Errorf("%s is kind %s (%v), want %s", name, kind, err, want)
		}
	}
}

func TestBadGroups(t *testing.T) {
	t.Parallel()
	nothing := func(context.Context, *jobstore.Job) error { return nil }
	for want, g := range map[string]*warren.KindGroup{
		`kind "" is not a name`:            warren.Group("").Handle("a", nothing),
		`kind "a b" is not a name`:         warren.Group("a b").Handle("a", nothing),
		"has no actions":                   warren.Group("product"),
		`action "sync-stock" and`:          warren.Group("product").Handle("sync_stock", nothing).Handle("sync-stock", nothing),
		`action "syncstock" and`:           warren.Group("product").Handle("sync_stock", nothing).Handle("syncstock", nothing),
		`action "-_" is not a name`:        warren.Group("product").Handle("-_", nothing),
		`action "a.b" is not a name`:       warren.Group("product").Handle("a.b", nothing),
		`action "é" is not a name`:         warren.Group("product").Handle("é", nothing),
		"has 10240 bytes":                  warren.Group("product").Handle(strings.Repeat("x", 10<<10), nothing),
		`are of kind "product.sync_stock"`: warren.HandleArgs(warren.Group("product"), "other", func(context.Context, *warren.Job[syncStock]) error { return nil }),
		"scope \"a b\" is not a name":      warren.Group("product").Handle("a", nothing, warren.KindOpts{Describe: warren.Describe{Scope: "a b"}}),
		"is not one line":                  warren.Group("product").Handle("a", nothing, warren.KindOpts{Describe: warren.Describe{Title: "a\nb"}}),
		"at most 4096 bytes":               warren.Group("product").Handle("a", nothing, warren.KindOpts{Describe: warren.Describe{Description: strings.Repeat("x", 5000)}}),
	} {
		var r warren.Registry
		r.Add(g)
		_, err := warren.NewClient(warren.ClientConfig{Store: onFile(t), Registry: &r})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	var r warren.Registry
	r.Raw("product.a", nothing)
	r.Add(warren.Group("product").Handle("a", nothing))
	if _, err := warren.NewClient(warren.ClientConfig{Store: onFile(t), Registry: &r}); err == nil || !strings.Contains(err.Error(), "registered twice") {
		t.Errorf("an action and a kind of one name: %v", err)
	}
}
