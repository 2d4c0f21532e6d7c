package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren/test/chaos/check"
	"github.com/warrenq/warren/test/chaos/wire"
)

// stagePoints has processes die, stand still and lose replies at each named point of the protocol.
func stagePoints(ctx context.Context, run *run, r *result) error {
	s, err := run.calm(ctx)
	if err != nil {
		return err
	}
	r.Versions = s.versions(ctx)
	all := slices.DeleteFunc(points(), func(p point) bool { return !run.wants(p.name) })
	ofProducer := slices.DeleteFunc(producerPoints(), func(p producerPoint) bool { return !run.wants(p.name) })
	if run.quick { // a quarter of them, another one with each seed
		var some []point
		for i := int(run.seed % 4); i < len(all); i += 4 {
			some = append(some, all[i])
		}
		all = some
		ofProducer = ofProducer[run.seed%4:][:1]
	}
	var mu sync.Mutex
	parallel(len(all)+len(ofProducer), func(i int) {
		var name string
		var act func(s *scene) error
		if i < len(all) {
			name, act = all[i].name, func(s *scene) error { return all[i].spring(ctx, s) }
		} else {
			p := ofProducer[i-len(all)]
			name, act = p.name, func(s *scene) error { return p.publish(ctx, s) }
		}
		v, h, err := run.atPoint(ctx, s, fmt.Sprintf("point %02d", i), act)
		mu.Lock()
		defer mu.Unlock()
		r.Points = append(r.Points, name)
		if err != nil {
			r.fail("%s: %v", name, err)
			return
		}
		r.merge(v.Counts)
		for _, x := range v.Violations {
			r.fail("%s: %s: job %d: %s", name, x.Class, x.ID, x.Text)
			for _, line := range historyOf(h, x.ID) {
				r.Notes = append(r.Notes, fmt.Sprintf("%s, job %d: %s", name, x.ID, line))
			}
		}
	})
	return nil
}

// patienceAtPoints is how long jobs may take to end after what happened: a lease, a rescue that waits for
// another, and the sweep for lost hints.
const patienceAtPoints = 45 * time.Second

// atPoint plays one scene and has it judged.
func (r *run) atPoint(ctx context.Context, s *servers, name string, act func(*scene) error) (v check.Verdict, h *check.History, err error) {
	err = guarded(func() error {
		scene := newScene(ctx, s, r, name, r.consumer)
		defer scene.close()
		scene.patience = patienceAtPoints
		if err := act(scene); err != nil {
			return err
		}
		h, v, err = scene.judge(ctx)
		return err
	})
	return v, h, err
}

// producerPoint is a moment at which the shipped producer dies.
type producerPoint struct {
	name string
	what string
	when wire.Moment
}

func producerPoints() []producerPoint {
	return []producerPoint{
		{"a producer dies before its commit", "insert", wire.Sending},
		{"a producer dies after its commit, before it knows", "insert", wire.Replied},
		{"a producer dies before it announces", "publish", wire.Sending},
		{"a producer dies before the confirm", "confirm", wire.Sending},
	}
}

// publish publishes one job with the shipped program, which dies on the way.
func (p *producerPoint) publish(ctx context.Context, s *scene) error {
	s.start()
	s.registered(ctx, 1)
	var cmd *exec.Cmd
	fired := make(chan struct{})
	var once sync.Once
	hook := func(what string, when wire.Moment) bool {
		if what != p.what || when != p.when {
			return true
		}
		once.Do(func() {
			close(fired)           // first: the end of the program is looked at to see whether it came here
			_ = cmd.Process.Kill() // an error means that it has just ended
		})
		return false
	}
	pg, amqp := must(wire.New(hostOf(s.dsn), wire.Postgres(hook))), must(wire.New(hostOf(s.amqp[0]), wire.AMQP(hook)))
	defer pg.Close()
	defer amqp.Close()
	j := s.probes(1, 0)[0]
	cmd = exec.CommandContext(ctx, s.run.shipped("producer"), "publish", "probe", "--identifier", j.tag, "--args", string(must(j.MarshalJSON())))
	cmd.Dir = s.dir
	cmd.Env = []string{"DATABASE_URL=" + through(s.dsn, pg.Addr()), "AMQP_URL=" + through(s.amqp[0], amqp.Addr()), "WARREN_QUEUE_PREFIX=" + s.prefix, "HOME=" + s.dir}
	out, err := cmd.CombinedOutput()
	select {
	case <-fired:
	default:
		return fmt.Errorf("the producer never came to the point: %w\n%s", err, out)
	}
	s.book.note(check.Maybe, j)
	if p.what == "insert" && p.when == wire.Sending {
		return nil
	}
	// Everywhere else the row was committed before, so it has to run.
	s.await(ctx, "the job that was committed", func() bool { return s.startsOf(0) == 1 })
	return nil
}
