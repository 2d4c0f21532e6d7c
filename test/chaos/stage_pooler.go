package main

import (
	"context"
	"slices"

	"github.com/warrenq/warren/internal/testenv"
)

// stagePooler is random chaos through a transaction pooler that keeps few connections.
func stagePooler(ctx context.Context, run *run, r *result) error {
	s, err := startServers(ctx, "pooler")
	if err != nil {
		return err
	}
	defer s.tb.close()
	w := newWorld(ctx, s, run, r.Stage)
	defer w.close()
	w.dsn = testenv.NewPgBouncer(s.tb, w.direct)
	faults := slices.Concat(consumerFaults(members), wireFaults(), databaseFaults(), brokerFaults())
	return randomChaos(ctx, run.part(), r, w, faults)
}

// part is a run of a third, for stages that repeat the random one in another setting.
func (r *run) part() *run {
	part := *r
	part.jobs, part.attack = r.jobs/3, r.attack/3
	return &part
}
