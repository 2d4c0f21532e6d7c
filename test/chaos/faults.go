package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func oneConsumer(n int) func(*rand.Rand) []string {
	return func(rnd *rand.Rand) []string { return []string{fmt.Sprintf("consumer %d", rnd.IntN(n))} }
}

// oneFrozen is a consumer, while no other is frozen past its lease: two at once hide what one shows.
func oneFrozen(n int) func(*rand.Rand) []string {
	return func(rnd *rand.Rand) []string { return []string{fmt.Sprintf("consumer %d", rnd.IntN(n)), "freezer"} }
}

func always(targets ...string) func(*rand.Rand) []string {
	return func(*rand.Rand) []string { return targets }
}

// consumerFaults happen to n consumers, whatever the servers are.
func consumerFaults(n int) []fault {
	return []fault{
		{"consumer kill -9", 4, oneConsumer(n), func(ctx context.Context, s *strike) {
			m := s.member()
			m.proc.kill()
			s.wait(ctx, 0, time.Second)
			m.start()
		}},
		{"consumer frozen past its lease", 7, oneFrozen(n), func(ctx context.Context, s *strike) {
			p := s.member().proc
			p.freeze()
			s.wait(ctx, s.ttl*5/4, s.ttl*5/2)
			p.thaw()
		}},
		{"consumer frozen for a moment", 3, oneConsumer(n), func(ctx context.Context, s *strike) {
			p := s.member().proc
			p.freeze()
			s.wait(ctx, 100*time.Millisecond, s.ttl/2)
			p.thaw()
		}},
		{"consumer SIGTERM and restart", 3, oneConsumer(n), func(_ context.Context, s *strike) {
			m := s.member()
			if !m.proc.stop(30 * time.Second) {
				panic(failure{fmt.Sprintf("consumer %d did not end well within 30 s of its SIGTERM; see %s", m.proc.pid(), m.proc.logPath)})
			}
			m.start()
		}},
	}
}

// wireFaults happen between the programs and their servers.
func wireFaults() []fault {
	return []fault{
		{"database connections reset", 3, always("wire to database"), func(_ context.Context, s *strike) {
			for _, p := range s.anyProxy(true) {
				p.Cut()
			}
		}},
		{"broker connections reset", 3, always("wire to broker"), func(_ context.Context, s *strike) {
			for _, p := range s.anyProxy(false) {
				p.Cut()
			}
		}},
		{"database unreachable (silent)", 2, always("wire to database"), func(ctx context.Context, s *strike) { s.stall(ctx, true) }},
		{"broker unreachable (silent)", 2, always("wire to broker"), func(ctx context.Context, s *strike) { s.stall(ctx, false) }},
	}
}

// stall makes a network that loses everything for a while; half of the time connections are gone after it.
func (s *strike) stall(ctx context.Context, database bool) {
	all := s.anyProxy(database)
	cut := s.rnd.IntN(2) == 0
	for _, p := range all {
		p.Stall(true)
	}
	s.wait(ctx, 500*time.Millisecond, s.ttl*3/2)
	for _, p := range all {
		if cut {
			p.Cut()
		}
		p.Stall(false)
	}
}

// databaseFaults happen to the database server.
func databaseFaults() []fault {
	return []fault{{"PostgreSQL kill -9 and start", 2, always("postgres"), func(ctx context.Context, s *strike) {
		s.w.s.pg.Kill()
		s.wait(ctx, 0, 2*time.Second)
		s.w.s.pg.Start()
	}}}
}

// brokerFaults happen to a broker of one node.
func brokerFaults() []fault {
	return []fault{
		{"RabbitMQ kill -9 and start", 1, always("rabbitmq"), func(_ context.Context, s *strike) {
			s.w.s.rabbit.Kill()
			s.w.s.rabbit.Start()
		}},
		{"RabbitMQ wiped", 1, always("rabbitmq"), func(_ context.Context, s *strike) { s.w.s.rabbit.Wipe() }},
		{"RabbitMQ frozen", 2, always("rabbitmq"), func(ctx context.Context, s *strike) {
			s.w.s.rabbit.Freeze()
			s.wait(ctx, time.Second, 5*time.Second)
			s.w.s.rabbit.Thaw()
		}},
		{"memory alarm", 1, always("rabbitmq"), func(ctx context.Context, s *strike) {
			s.w.s.rabbit.Ctl("set_vm_memory_high_watermark", "0.00001")
			s.wait(ctx, 0, 2*time.Second)
			s.w.s.rabbit.Ctl("set_vm_memory_high_watermark", "absolute", "512MiB")
		}},
		{"connections closed by the broker", 2, always("rabbitmq"), func(ctx context.Context, s *strike) { s.closeConnections(ctx) }},
		{"queues purged", 4, always("rabbitmq"), func(_ context.Context, s *strike) {
			s.onChannel(func(ch *amqp.Channel, queue string) { _, _ = ch.QueuePurge(queue, false) }) // it may be missing
		}},
		{"a queue deleted", 2, always("rabbitmq"), func(_ context.Context, s *strike) {
			victim := s.w.queues()[s.rnd.IntN(3)]
			s.onChannel(func(ch *amqp.Channel, queue string) {
				if queue == victim {
					_, _ = ch.QueueDelete(queue, false, false, false) // it may be missing
				}
			})
		}},
		{"forged and doubled hints", 4, always("rabbitmq"), func(_ context.Context, s *strike) { s.forge(30) }},
	}
}

// onChannel does something to each queue, on a channel of its own, because a refusal closes it. A broker
// that cannot be reached is left alone: something else is happening to it.
func (s *strike) onChannel(each func(ch *amqp.Channel, queue string)) {
	conn, err := amqp.DialConfig(s.w.amqp[0], amqp.Config{Dial: amqp.DefaultDial(2 * time.Second), Vhost: "/"})
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	for _, queue := range s.w.queues() {
		if ch, err := conn.Channel(); err == nil {
			each(ch, queue)
			_ = ch.Close() // it may be closed already
		}
	}
}

// malformed are bodies that are no hints.
func malformed() []string {
	return []string{"-1", "0", "9223372036854775808", `{"id":1}`, "", " 12", "12\x00", "0x1f", "1  2", "+7", strings.Repeat("9", 1<<20)}
}

// forge publishes numbers that exist, that do not, and messages that are no hints at all.
func (s *strike) forge(n int) {
	s.onChannel(func(ch *amqp.Channel, queue string) {
		for range n {
			body := strconv.Itoa(1 + s.rnd.IntN(3500))
			switch s.rnd.IntN(6) {
			case 0:
				body = strconv.FormatInt(1+s.rnd.Int64N(1<<62), 10)
			case 1:
				bad := malformed()
				body = bad[s.rnd.IntN(len(bad))]
				s.mu.Lock()
				s.injected++
				s.mu.Unlock()
			}
			// Whether it arrives does not matter.
			_ = ch.Publish("", queue, false, false, amqp.Publishing{Body: []byte(body), Priority: uint8(s.rnd.IntN(10)), Type: "forged"})
		}
	})
}

// closeConnections has the broker end every connection, by its management API.
func (s *strike) closeConnections(ctx context.Context) {
	base := s.w.s.rabbit.ManagementURL()
	var list []struct{ Name string }
	if err := manage(ctx, http.MethodGet, base+"/api/connections", &list); err != nil {
		return // something else is happening to it
	}
	for _, c := range list {
		_ = manage(ctx, http.MethodDelete, base+"/api/connections/"+url.PathEscape(c.Name), nil) // it may have ended
	}
}

// manage calls the broker's management API.
func manage(ctx context.Context, method, address string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}
