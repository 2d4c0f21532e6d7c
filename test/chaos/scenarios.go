package main

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

// scenarios make what each part of the protocol is there for. The shipped protocol passes all of them; each mutant fails its own.
func scenarios() map[string]func(ctx context.Context, s *scene) error {
	return map[string]func(ctx context.Context, s *scene) error{
		"doubled hints":                          doubledHints,
		"one consumer frozen":                    oneConsumerFrozen,
		"one consumer cut off from the database": oneConsumerCutOff,
		"one consumer killed":                    oneConsumerKilled,
		"jobs from SQL":                          jobsFromSQL,
		"queues purged":                          queuesPurged,
		"hints into the void":                    hintsIntoTheVoid,
		"a better member arrives":                betterMember,
	}
}

// late has the sweep for lost hints come too late to help.
func (s *scene) late() { s.env["CHAOS_LOST_HINTS"] = "10m" }

// doubledHints announces jobs again and again while they run.
func doubledHints(ctx context.Context, s *scene) error {
	s.start()
	s.start()
	s.enqueue(ctx, s.probes(4, 2*time.Second))
	s.started(ctx, 4)
	conn, err := pgx.Connect(ctx, s.direct)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	rows, err := conn.Query(ctx, "SELECT id FROM warren.jobs ORDER BY id")
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	s.struck().onChannel(func(ch *amqp.Channel, queue string) {
		for i := range 10 * len(ids) {
			_ = ch.Publish("", queue, false, false, amqp.Publishing{Body: []byte(strconv.FormatInt(ids[i%len(ids)], 10))}) // if one does not arrive, others do
		}
	})
	return nil
}

// oneConsumerFrozen freezes the one that runs the jobs until the other runs them, in the middle of its work.
func oneConsumerFrozen(ctx context.Context, s *scene) error {
	first := s.start()
	s.enqueue(ctx, s.probes(4, 6*time.Second, func(i int, j *job) {
		if i%2 == 0 {
			j.kind = "stubborn"
		}
	}))
	s.started(ctx, 4)
	second := s.start()
	s.registered(ctx, 2)
	first.proc.freeze()
	defer first.proc.thaw()
	s.await(ctx, "the other consumer to run the jobs", func() bool { return s.startsOf(second.proc.pid()) == 4 })
	return nil
}

// oneConsumerCutOff separates the one that runs the jobs from the database for longer than its lease.
func oneConsumerCutOff(ctx context.Context, s *scene) error {
	first := s.start()
	s.enqueue(ctx, s.probes(4, 9*time.Second))
	s.started(ctx, 4)
	second := s.start()
	s.registered(ctx, 2)
	first.pg.Stall(true)
	defer first.pg.Stall(false)
	defer first.pg.Cut()
	s.await(ctx, "the other consumer to run the jobs", func() bool { return s.startsOf(second.proc.pid()) == 4 })
	pause(ctx, time.Second)
	return nil
}

// oneConsumerKilled kills the one that runs the jobs.
func oneConsumerKilled(ctx context.Context, s *scene) error {
	first := s.start()
	s.enqueue(ctx, s.probes(4, 2*time.Second))
	s.started(ctx, 4)
	s.start()
	s.registered(ctx, 2)
	first.proc.kill()
	return nil
}

// jobsFromSQL are announced by nobody but the outbox.
func jobsFromSQL(ctx context.Context, s *scene) error {
	s.late()
	s.start()
	s.registered(ctx, 1)
	s.enqueue(ctx, s.probes(10, time.Millisecond))
	s.patience = 12 * time.Second
	return nil
}

// queuesPurged loses hints that were confirmed.
func queuesPurged(ctx context.Context, s *scene) error {
	first := s.start()
	s.registered(ctx, 1)
	// A stopped consumer holds no hints: what is in the queues is all there is.
	_ = first.proc.stop(20 * time.Second)
	p := newProducer(ctx, s.world, &s.book, "", s.run.seed)
	defer p.stop()
	p.many(ctx, s.probes(20, time.Millisecond))
	if err := p.client.Drain(ctx); err != nil {
		return err
	}
	purged := 0
	s.struck().onChannel(func(ch *amqp.Channel, queue string) {
		n, _ := ch.QueuePurge(queue, false) // a queue that is missing has nothing to purge
		purged += n
	})
	if purged == 0 {
		return fmt.Errorf("%s: there was no hint to lose", s.name)
	}
	first.start()
	return nil
}

// hintsIntoTheVoid sends hints over a connection that has just died, without anybody knowing.
func hintsIntoTheVoid(ctx context.Context, s *scene) error {
	s.late()
	m := s.start()
	s.registered(ctx, 1)
	s.enqueue(ctx, s.probes(1, time.Millisecond))
	s.started(ctx, 1) // the connection to publish stands
	m.amqp[0].Stall(true)
	s.enqueue(ctx, s.probes(5, time.Millisecond))
	if err := s.outboxLeft(ctx, 8*time.Second); err != nil {
		return err
	}
	m.amqp[0].Cut()
	m.amqp[0].Stall(false)
	return nil
}

// outboxLeft gives the sweep some time to take everything out of the outbox. A right one keeps it there: nothing was confirmed.
func (s *scene) outboxLeft(ctx context.Context, most time.Duration) error {
	conn, err := pgx.Connect(ctx, s.direct)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	for end := time.Now().Add(most); time.Now().Before(end); pause(ctx, 100*time.Millisecond) {
		var left bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM warren.jobs WHERE announce_at IS NOT NULL)").Scan(&left); err != nil || !left {
			return err
		}
	}
	return nil
}

// betterMember publishes a member that comes first while another runs.
func betterMember(ctx context.Context, s *scene) error {
	s.start()
	s.start()
	s.registered(ctx, 2)
	inGroup := func(priority int) func(int, *job) {
		return func(i int, j *job) { j.group, j.priority = fmt.Sprintf("g%d", i), priority }
	}
	s.enqueue(ctx, s.probes(3, 3*time.Second, inGroup(20)))
	s.started(ctx, 3)
	s.enqueue(ctx, s.probes(3, 10*time.Millisecond, inGroup(10)))
	return nil
}

// die is SIGKILL to a process, from within a hook: nobody waits for its end.
func die(p *process) { _ = syscall.Kill(p.pid(), syscall.SIGKILL) }
