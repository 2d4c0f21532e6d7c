package warren_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
)

// A serial group is a turn: however many jobs one tenant has waiting, and however long they have waited, it takes as many
// slots as it has groups, and the jobs of others that come later go beside them.
func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, store jobstore.Store, b broker.Broker) {
		t.Helper()
		const many, few, lanes = 300, 10, 2
		var mu sync.Mutex
		begun := map[string]int{}
		ofTheFirst := -1 // jobs of the big tenant that had begun when the last of the others did
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			mu.Lock()
			defer mu.Unlock()
			begun[job.Args.To]++
			if others := begun["b"] + begun["c"]; others == 2*few && ofTheFirst < 0 {
				ofTheFirst = begun["a"]
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r, Concurrency: 4, Priorities: []int{10}})
		var items []warren.Item
		tenant := func(name string, n int) {
			for i := range n {
				items = append(items, warren.Item{Args: mail{To: name}, Opts: warren.PublishOpts{SerialGroup: fmt.Sprint(name, i%lanes)}})
			}
		}
		tenant("a", many)
		tenant("b", few)
		tenant("c", few)
		if _, err := c.Client().PublishMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		await(t, "every job to begin", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return begun["a"]+begun["b"]+begun["c"] == len(items)
		})
		t.Logf("%d of %d jobs of the first tenant had begun when the others' last did", ofTheFirst, many)
		if ofTheFirst > many/2 {
			t.Errorf("%d of %d jobs of the first tenant began before the last of %d jobs of two others", ofTheFirst, many, 2*few)
		}
	})
}
