package warren_test

import (
	"context"
	"fmt"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// exampleFlow publishes a flow, runs all of it, and prints what became of it.
func exampleFlow(registry *warren.Registry, f warren.Flow) {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: registry})
	if err != nil {
		panic(err)
	}
	id, err := client.PublishFlow(ctx, f)
	if err != nil {
		panic(err)
	}
	exampleRun(store, registry)
	info, err := client.FlowInfo(ctx, id)
	if err != nil {
		panic(err)
	}
	fmt.Println(info.Name, info.State)
}

// Row is one line of a file to import.
type Row struct {
	Line int `json:"line"`
}

// Kind implements warren.Args.
func (Row) Kind() string { return "row" }

// Report is for people.
type Report struct {
	Text string `json:"text"`
}

// Kind implements warren.Args.
func (Report) Kind() string { return "report" }

func rows() *warren.Registry {
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[Row]) error {
		fmt.Println("row", job.Args.Line)
		return nil
	})
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[Report]) error {
		fmt.Println(job.Args.Text)
		return nil
	})
	return &registry
}

// Steps go one after the other.
func ExampleChain() {
	exampleFlow(rows(), warren.Chain(Row{1}, Row{2}, Report{"done"}).OnFailure(Report{"failed"}))
	// Output:
	// row 1
	// row 2
	// done
	// chain finished
}

// Members go at once, and callbacks, which are jobs, hear what becomes of them.
func ExampleBatch() {
	exampleFlow(rows(), warren.Batch("Import CSV", Row{1}).AddChain(Row{2}, Row{3}).OnSuccess(Report{"imported"}))
	// Output:
	// row 1
	// row 2
	// row 3
	// imported
	// Import CSV finished
}

// What a handler adds to its batch is there when it has finished, or not at all.
func ExampleJobBatch_Add() {
	registry := rows()
	warren.RegisterFunc(registry, func(ctx context.Context, job *warren.Job[Welcome]) error {
		return job.Batch().Add(ctx, Row{1}, Row{2})
	})
	exampleFlow(registry, warren.Batch("Import CSV", Welcome{Name: "the file"}).OnFinish(Report{"read"}))
	// Output:
	// row 1
	// row 2
	// read
	// Import CSV finished
}

// A handler may put steps behind its own.
func ExampleJobChain_Prepend() {
	registry := rows()
	warren.RegisterFunc(registry, func(ctx context.Context, job *warren.Job[Welcome]) error {
		return job.Flow().Prepend(ctx, Row{7})
	})
	exampleFlow(registry, warren.Chain(Welcome{Name: "ada"}, Report{"done"}))
	// Output:
	// row 7
	// done
	// chain finished
}

// A flow can be looked at, called off and retried while it runs.
func ExampleClient_Batch() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	id, err := client.PublishFlow(ctx, warren.Batch("Import CSV", Row{1}, Row{2}).Meta("file", "a.csv"))
	if err != nil {
		panic(err)
	}
	info, err := client.Batch(ctx, id)
	if err != nil {
		panic(err)
	}
	fmt.Println(info.Name, info.State, info.Progress(), "%", info.Pending(), "pending")
	fmt.Println(client.CancelFlow(ctx, id), info.State == jobstore.StepRunning)
	// Output:
	// Import CSV running 0 % 2 pending
	// <nil> true
}
