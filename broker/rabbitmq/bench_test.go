package rabbitmq_test

import (
	"fmt"
	"testing"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// benchBroker is a broker with one queue of each band that the benchmark uses.
func benchBroker(b *testing.B, kind string) *rabbitmq.Broker {
	b.Helper()
	brk := start(b, rabbitmq.Config{URL: testenv.RabbitMQ(b), QueueType: kind})
	publishEventually(b, brk, hint(10, 1))
	return brk
}

func batch(hints, numbers int) []broker.Hint {
	list := make([]broker.Hint, hints)
	for i := range list {
		for n := range numbers {
			list[i].Numbers = append(list[i].Numbers, int64(1_000_000_000+i*numbers+n))
		}
		list[i].Band = band(10)
	}
	return list
}

// BenchmarkPublish is one call of Publish, confirms included.
func BenchmarkPublish(b *testing.B) {
	for _, kind := range []string{rabbitmq.Classic, rabbitmq.Quorum} {
		for _, c := range []struct{ hints, numbers, callers int }{
			{1, 1, 1}, {1, 1, 16}, {1, 50, 1}, {20, 50, 1}, {1000, 1, 1},
		} {
			b.Run(fmt.Sprintf("%s/hints=%d/numbers=%d/callers=%d", kind, c.hints, c.numbers, c.callers), func(b *testing.B) {
				brk := benchBroker(b, kind)
				hints := batch(c.hints, c.numbers)
				b.ReportAllocs()
				b.SetParallelism((c.callers + 1) / 2) // times GOMAXPROCS, two here
				b.ResetTimer()
				publishOnce := func() {
					if errs := brk.Publish(b.Context(), hints); errs != nil {
						b.Error(errs[0])
					}
				}
				if c.callers == 1 {
					for b.Loop() {
						publishOnce()
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							publishOnce()
						}
					})
				}
				b.ReportMetric(float64(b.N*c.hints)/b.Elapsed().Seconds(), "messages/s")
				b.ReportMetric(float64(b.N*c.hints*c.numbers)/b.Elapsed().Seconds(), "numbers/s")
			})
		}
	}
}

// BenchmarkConsume takes and settles one message of a queue that is full enough.
func BenchmarkConsume(b *testing.B) {
	for _, kind := range []string{rabbitmq.Classic, rabbitmq.Quorum} {
		for _, c := range []struct{ numbers, prefetch, acks int }{{1, 500, 1}, {1, 500, 100}, {50, 20, 1}, {50, 20, 4}} {
			b.Run(fmt.Sprintf("%s/numbers=%d/prefetch=%d/acks=%d", kind, c.numbers, c.prefetch, c.acks), func(b *testing.B) {
				brk := benchBroker(b, kind)
				for left := b.N; left > 0; left -= 1000 {
					publishEventually(b, brk, batch(min(left, 1000), c.numbers)...)
				}
				s := subscribe(b, brk, c.prefetch, 10)
				b.ReportAllocs()
				b.ResetTimer()
				var taken []broker.Delivery
				for i := range b.N {
					taken = append(taken, next(b, s))
					if len(taken) == c.acks || i == b.N-1 {
						ack(b, s, taken...)
						taken = taken[:0]
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				b.ReportMetric(float64(b.N*c.numbers)/b.Elapsed().Seconds(), "numbers/s")
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Errorf("Close = %v", err)
				}
			})
		}
	}
}
