package rabbitmq_test

import (
	"slices"
	"testing"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// Whatever waits in a queue is held, more than one channel takes, and is back in its place
// afterwards, except what was dropped.
func TestHold(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{rabbitmq.Classic, rabbitmq.Quorum} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			url := testenv.RabbitMQ(t)
			cfg := rabbitmq.Config{URL: url, QueueType: kind}
			b := start(t, cfg)
			const messages, span = 3500, 1000
			hints := make([]broker.Hint, messages)
			for i := range hints {
				hints[i] = hint(10, int64(i+1))
			}
			for _, err := range b.Publish(t.Context(), hints) {
				if err != nil {
					t.Fatal(err)
				}
			}
			inject(t, url, queueName(band(10)), []byte("no hint"))
			admin, err := rabbitmq.OpenAdmin(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			admin.SetSpan(span)
			look := func(drop func(broken bool, number int64) bool) (numbers []int64, broken int) {
				t.Helper()
				var gone []rabbitmq.HeldMessage
				held, err := admin.Hold(t.Context(), band(10), 0, func(m rabbitmq.HeldMessage) {
					if m.Numbers == nil {
						broken++
					} else {
						numbers = append(numbers, m.Numbers...)
					}
					if drop(m.Numbers == nil, append(m.Numbers, 0)[0]) {
						gone = append(gone, m)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if n := depth(t, url, queueName(band(10))); n != 0 {
					t.Errorf("%d messages can be had while they are held", n)
				}
				for _, m := range gone {
					if err := held.Drop(m); err != nil {
						t.Fatal(err)
					}
				}
				if err := held.Release(); err != nil {
					t.Fatal(err)
				}
				return numbers, broken
			}
			want := make([]int64, messages)
			for i := range want {
				want[i] = int64(i + 1)
			}
			numbers, broken := look(func(broken bool, n int64) bool { return broken || n == 7 || n == 2507 })
			if !slices.Equal(numbers, want) || broken != 1 {
				t.Fatalf("%d numbers and %d others are held, or not in order", len(numbers), broken)
			}
			want = slices.Delete(want, 6, 7) // 7, which the first channel had, and
			want = slices.Delete(want, 2505, 2506)
			eventually(t, "everything is back", func() bool { return depth(t, url, queueName(band(10))) == len(want) })
			numbers, broken = look(func(bool, int64) bool { return false })
			if slices.Sort(numbers); !slices.Equal(numbers, want) || broken != 0 {
				t.Errorf("afterwards %d numbers and %d others, want %d", len(numbers), broken, len(want))
			}
		})
	}
}

// A queue that does not exist has nothing in it.
func TestHoldNothing(t *testing.T) {
	t.Parallel()
	admin, err := rabbitmq.OpenAdmin(t.Context(), rabbitmq.Config{URL: testenv.RabbitMQ(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	held, err := admin.Hold(t.Context(), band(10), 0, func(rabbitmq.HeldMessage) { t.Error("a message") })
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
}
