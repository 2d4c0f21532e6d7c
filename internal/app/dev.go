package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/probe"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/demo"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/live"
	"github.com/warrenq/warren/jobstore"
)

// DevOptions are what `warren dev` adds to the configuration.
type DevOptions struct {
	// Listen is where other programs publish over HTTP.
	Listen string
	// AnyPort takes another port when that of Listen is taken.
	AnyPort bool
	// Screen is where samples and what becomes of them are shown. nil = no samples.
	Screen *live.Screen
	// Try makes commands for the person who looks, given the address of the API.
	Try func(api string) []string
	// Second, when closed, hands back at once what still runs.
	Second <-chan struct{}
}

// Samples adds the kinds that sample jobs need to a configuration.
func Samples(cfg *config.Config) { cfg.Kinds = demo.Kinds(cfg) }

// ProbeIfNothing adds a probe to a configuration without a kind, so that there is something to try.
func ProbeIfNothing(cfg *config.Config) {
	if len(cfg.Kinds) == 0 {
		cfg.Kinds = map[string]config.Kind{"probe": {Probe: &probe.Config{}, Priority: cfg.Priorities[0], MaxAttempts: cfg.MaxAttempts}}
	}
}

// Dev is everything in one process: a consumer, the API and, with a screen, samples and a view of
// what becomes of them. It returns the outcomes of this process by state.
func (a *App) Dev(ctx context.Context, o DevOptions) (map[jobstore.State]int, error) {
	server, err := a.ListenAPI(ctx, o.Listen)
	if o.AnyPort && errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(o.Listen) // it has just been listened to
		server, err = a.ListenAPI(ctx, net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, err
	}
	defer server.Close()
	var board *live.Board
	consume := ConsumerOptions{NoPools: true, Second: o.Second}
	if o.Screen != nil {
		board = live.New(live.Config{
			Title: fmt.Sprintf("Warren on %s, API on %s", a.where(), server.URL()), Try: o.Try(server.URL()), Jobs: a.Store, Expect: demo.Expect,
		})
		unhook := context.AfterFunc(ctx, board.Drain)
		defer unhook()
		consume.Observer = board
		consume.Before = []lifecycle.Part{{Name: "view", Run: func(ctx context.Context) error { return board.Run(ctx, o.Screen) }}}
	}
	consume.Publishing = func(client *warren.Client) []lifecycle.Part {
		parts := []lifecycle.Part{{Name: "API", Run: func(ctx context.Context) error { return server.Serve(ctx, client, o.Second) }}}
		if board != nil {
			parts = append(parts, lifecycle.Part{Name: "samples", Run: func(ctx context.Context) error { return samples(ctx, client) }})
		}
		return parts
	}
	if err := a.Consume(ctx, consume); err != nil || board == nil {
		return nil, err
	}
	return board.Totals(), nil
}

func samples(ctx context.Context, client *warren.Client) error {
	if client.AwaitRun(ctx) != nil {
		return nil //nolint:nilerr // asked to stop before it began
	}
	return demo.Run(ctx, client)
}

// where names the database for people, without what is secret.
func (a *App) where() string {
	url := string(a.Config.DatabaseURL)
	if path, ok := strings.CutPrefix(url, sqliteScheme); ok {
		return path
	}
	return config.Redact(url)
}

// LeftWithin is how long Left may count.
const LeftWithin = 2 * time.Second

// Left counts the jobs that have not ended. Its context need not be alive: it is asked when all is over.
func (a *App) Left(ctx context.Context) (left int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), LeftWithin)
	defer cancel()
	stats, err := a.Store.Stats(ctx)
	for state, n := range stats.Total {
		if !state.Final() {
			left += n
		}
	}
	return left, err
}
