package cli_test

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore/postgres"
)

// flowCmd publishes a flow, as a Go program does: 'publishflow batch', 'publishflow choice'.
func flowCmd(dsn string) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: publishflow batch|choice")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		store, err := postgres.Open(ctx, dsn, postgres.Config{})
		ts.Check(err)
		defer store.Close()
		client, err := warren.NewClient(warren.ClientConfig{Store: store})
		ts.Check(err)
		probe := func(args string) warren.Item { return warren.Item{Kind: "probe", Args: json.RawMessage(args)} }
		f := warren.Flow(warren.Chain(probe(`{}`), warren.Batch("Import CSV", probe(`{"outcome":"permanent","message":"no such file"}`)).
			AddChain(probe(`{}`), probe(`{}`)).AllowFailures().OnFinish(probe(`{}`)), probe(`{"outcome":"permanent"}`), probe(`{}`)).Name("nightly"))
		if args[0] == "choice" {
			f = &warren.DefinedFlow{Name: "process-data", Version: 3, Steps: []warren.DefinedStep{
				{Name: "fetch", Job: probe(`{}`)},
				{Name: "large?", After: []string{"fetch"}, Decide: true, Job: probe(`{}`)},
				{Name: "large", After: []string{"large?"}, Job: probe(`{}`)},
			}}
		}
		_, err = client.PublishFlow(ctx, f)
		ts.Check(err)
	}
}
