package warren

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/jobstore"
)

// Order is how a consumer chooses among its bands: one queue at one priority each.
type Order string

// The orders.
const (
	// OrderStrict runs the best priority first, over all queues: while it has jobs waiting, no worse one
	// begins. It is the default.
	OrderStrict Order = "strict"
	// OrderWeighted serves bands in proportion to their weights, and none starves. Of N jobs that a
	// consumer begins while all of its bands have jobs at hand, a band gets N times its part of all weights,
	// give or take 50 for each band, however large N is. A job is at hand when it could be claimed: with a broker
	// its hint has come; without one nobody has its row locked.
	OrderWeighted Order = "weighted"
	// OrderFair lets bands take turns: OrderWeighted with the same weight for all.
	OrderFair Order = "fair"
)

// Weights are how much of a consumer's attention queues and priorities get with OrderWeighted. The weight
// of a band is that of its queue times that of its priority.
type Weights struct {
	// Queues have weights from 1 to 1000. Default 1.
	Queues map[string]int
	// Priorities have weights from 1 to 1000. Default: of n that the consumer takes the best has n, the next
	// n - 1, and so on.
	Priorities map[int]int
}

// maxWeight keeps a band with the least weight from waiting longer than anybody wants to.
const maxWeight = 1000

func (c *ConsumerConfig) checkOrder() error {
	switch c.Order {
	case "", OrderStrict, OrderFair:
		if len(c.Weights.Queues)+len(c.Weights.Priorities) > 0 {
			return fmt.Errorf("weights are for order %s; the order is %s", OrderWeighted, firstNonEmpty(string(c.Order), string(OrderStrict)))
		}
		return nil
	case OrderWeighted:
	default:
		return fmt.Errorf("order %.50q is none of %s, %s, %s", string(c.Order), OrderStrict, OrderWeighted, OrderFair)
	}
	var errs []error
	for _, queue := range slices.Sorted(maps.Keys(c.Weights.Queues)) {
		if !slices.Contains(c.Queues, queue) {
			errs = append(errs, fmt.Errorf("queue %.200q has a weight and is not taken; name one of %q", queue, c.Queues))
		}
		errs = append(errs, checkWeight("queue "+queue, c.Weights.Queues[queue]))
	}
	for _, p := range slices.Sorted(maps.Keys(c.Weights.Priorities)) {
		if !slices.Contains(c.Take, p) {
			errs = append(errs, fmt.Errorf("priority %d has a weight and is not taken; name one of %s", p, joinInts(c.Take)))
		}
		errs = append(errs, checkWeight(fmt.Sprintf("priority %d", p), c.Weights.Priorities[p]))
	}
	return errors.Join(errs...)
}

func checkWeight(of string, weight int) error {
	if weight < 1 || weight > maxWeight {
		return fmt.Errorf("the weight of %.200s is %d; give it one from 1 to %d", of, weight, maxWeight)
	}
	return nil
}

// turns are the order of a feed, nil when it is strict.
func (c *ConsumerConfig) turns() *dispatch.Turns {
	if c.Order == "" || c.Order == OrderStrict {
		return nil
	}
	weights := map[jobstore.Band]int{}
	for _, queue := range c.Queues {
		for i, p := range c.Take {
			weight := 1
			if c.Order == OrderWeighted {
				weight = weightOf(c.Weights.Queues, queue, 1) * weightOf(c.Weights.Priorities, p, len(c.Take)-i)
			}
			weights[jobstore.Band{Queue: queue, Priority: p}] = weight
		}
	}
	return dispatch.NewTurns(weights)
}

func weightOf[K comparable](weights map[K]int, of K, byDefault int) int {
	if w, ok := weights[of]; ok {
		return w
	}
	return byDefault
}
