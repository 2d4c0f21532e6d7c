package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/probe"
	"github.com/warrenq/warren/jobstore"
)

// backoff is short, so that many attempts fit into one run.
func backoff(int) time.Duration { return 200*time.Millisecond + rand.N(600*time.Millisecond) }

// kinds are the probe under three names: as it is, ignoring its context, and with a first attempt that
// panics. The probe writes the ledger for all of them.
func kinds() (*warren.Registry, error) {
	handle, err := probe.New(probe.Config{})
	if err != nil {
		return nil, err
	}
	opts := warren.KindOpts{Backoff: backoff, MaxAttempts: warren.Unlimited}
	var r warren.Registry
	r.Raw("probe", handle, opts)
	r.Raw("stubborn", func(ctx context.Context, job *jobstore.Job) error { return handle(context.WithoutCancel(ctx), job) }, opts)
	r.Raw("panicky", func(ctx context.Context, job *jobstore.Job) error {
		if job.Attempts == 1 {
			if err := handle(ctx, withOutcome(job, "panic")); err != nil {
				return err
			}
		}
		return handle(ctx, job)
	}, opts)
	return &r, nil
}

// withOutcome is the job with another outcome in its args.
func withOutcome(job *jobstore.Job, outcome string) *jobstore.Job {
	args := map[string]any{}
	if err := json.Unmarshal(job.Args, &args); err != nil {
		panic(fmt.Sprintf("args of job %d: %v", job.ID, err))
	}
	args["outcome"] = outcome
	changed, err := json.Marshal(args)
	if err != nil {
		panic(fmt.Sprintf("args of job %d: %v", job.ID, err))
	}
	other := *job
	other.Args = changed
	return &other
}
