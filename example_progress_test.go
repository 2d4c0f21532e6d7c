package warren_test

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Import is a kind that takes a while.
type Import struct {
	Rows []string `json:"rows"`
}

// Kind names the handler.
func (Import) Kind() string { return "import" }

// A handler says how far it is and what happens, and others see it while it runs.
func ExampleProgress() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(ctx context.Context, job *warren.Job[Import]) error {
		warren.Stage(ctx, "check", 0.2)
		warren.Progress(ctx, 1, 1, "")
		warren.Stage(ctx, "store", 0.8)
		for i, row := range job.Args.Rows {
			warren.Logger(ctx).Info("stored", zap.String("row", row))
			warren.Progress(ctx, int64(i+1), int64(len(job.Args.Rows)), "at row "+row)
		}
		return nil
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	p, err := client.Publish(ctx, Import{Rows: []string{"a", "b"}})
	if err != nil {
		panic(err)
	}
	exampleRun(store, &registry)
	job, err := store.Get(ctx, p.ID)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%g %%, %s %d/%d: %s\n", *job.Progress.Percent, job.Progress.Stage, job.Progress.Done, job.Progress.Total, job.Progress.Message)
	lines, err := store.Lines(ctx, jobstore.LineFilter{Job: p.ID})
	if err != nil {
		panic(err)
	}
	for _, l := range lines {
		fmt.Println(l.Level, l.Text, string(l.Fields))
	}
	// Output:
	// 100 %, store 2/2: at row b
	// info stored {"row": "a"}
	// info stored {"row": "b"}
}

// After a failure the next attempt goes on where this one stopped.
func ExampleEach() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	var registry warren.Registry
	broken := true
	warren.RegisterFunc(&registry, func(ctx context.Context, job *warren.Job[Import]) error {
		chunks := slices.Chunk(job.Args.Rows, 2)
		return warren.Each(ctx, chunks, 3, func(_ context.Context, rows []string) error {
			if rows[0] == "c" && broken {
				broken = false
				return warren.RetryAfter(0, fmt.Errorf("cannot store %v", rows))
			}
			fmt.Println("stored", rows)
			return nil
		})
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	p, err := client.Publish(ctx, Import{Rows: []string{"a", "b", "c", "d", "e"}})
	if err != nil {
		panic(err)
	}
	for job := (jobstore.Job{}); !job.State.Final(); {
		exampleRun(store, &registry)
		if job, err = store.Get(ctx, p.ID); err != nil {
			panic(err)
		}
	}
	// Output:
	// stored [a b]
	// stored [c d]
	// stored [e]
}

// Done ends a job with a result and a last word.
func ExampleDone() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[Import]) error {
		return warren.Done(map[string]int{"rows": len(job.Args.Rows)}, "all rows are in")
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	p, err := client.Publish(ctx, Import{Rows: []string{"a", "b"}})
	if err != nil {
		panic(err)
	}
	exampleRun(store, &registry)
	job, err := store.Get(ctx, p.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println(job.State, string(job.Output), job.Progress.Message)
	// Output: FINISHED {"rows": 2} all rows are in
}
