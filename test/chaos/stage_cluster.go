package main

import (
	"context"
	"slices"
	"time"
)

// stageCluster is random chaos on quorum queues over three nodes: one node at a time is killed, the leaders of queues
// among them, or frozen, and each of these is a minority.
func stageCluster(ctx context.Context, run *run, r *result) error {
	s, err := startServers(ctx, "cluster") // its single broker only installs what is missing
	if err != nil {
		return err
	}
	defer s.tb.close()
	s.rabbit.Stop()
	w := newWorld(ctx, s, run, r.Stage)
	defer w.close()
	c, err := startCluster(ctx, w.dir)
	if err != nil {
		return err
	}
	defer c.close()
	w.amqp = nil
	for _, n := range c.nodes {
		w.amqp = append(w.amqp, n.url())
	}
	faults := slices.Concat(consumerFaults(members), wireFaults(), databaseFaults(), c.faults())
	return randomChaos(ctx, run.part(), r, w, faults)
}

// faults happen to one node of three.
func (c *cluster) faults() []fault {
	return []fault{
		{"a node of three kill -9 and start", 3, always("nodes"), func(ctx context.Context, s *strike) {
			n := c.nodes[s.rnd.IntN(len(c.nodes))]
			n.proc.kill()
			s.wait(ctx, time.Second, 3*time.Second)
			ensure(n.start())
			if !until(ctx, 2*time.Minute, n.up) {
				panic(failure{"node " + n.name + " did not come back; see " + n.dir})
			}
		}},
		{"a node of three frozen", 3, always("nodes"), func(ctx context.Context, s *strike) {
			n := c.nodes[s.rnd.IntN(len(c.nodes))]
			n.proc.freeze()
			s.wait(ctx, 2*time.Second, 8*time.Second)
			n.proc.thaw()
			if !until(ctx, 2*time.Minute, n.up) {
				panic(failure{"node " + n.name + " did not come back; see " + n.dir})
			}
		}},
	}
}
