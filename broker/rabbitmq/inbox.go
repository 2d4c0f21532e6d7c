package rabbitmq

import (
	"container/heap"

	"github.com/warrenq/warren/broker"
)

// inbox holds the deliveries of a subscription that have arrived and were not taken, the best
// first: smallest priority number, then earliest arrival. It has no lock of its own.
type inbox struct {
	items items
	seq   uint64
}

type item struct {
	broker.Delivery
	at  receipt
	seq uint64
}

func (in *inbox) push(d broker.Delivery, at receipt) {
	in.seq++
	heap.Push(&in.items, item{Delivery: d, at: at, seq: in.seq})
}

func (in *inbox) pop() (broker.Delivery, bool) {
	if len(in.items) == 0 {
		return broker.Delivery{}, false
	}
	return heap.Pop(&in.items).(item).Delivery, true
}

// drop removes everything that came from f and returns the tags.
func (in *inbox) drop(f *flow) (tags []uint64) {
	kept := in.items[:0]
	for _, it := range in.items {
		if it.at.flow == f {
			tags = append(tags, it.at.tag)
		} else {
			kept = append(kept, it)
		}
	}
	clear(in.items[len(kept):])
	in.items = kept
	heap.Init(&in.items)
	return tags
}

// items implements heap.Interface.
type items []item

func (q items) Len() int      { return len(q) }
func (q items) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q items) Less(i, j int) bool {
	if q[i].Priority != q[j].Priority {
		return q[i].Priority < q[j].Priority
	}
	return q[i].seq < q[j].seq
}

// Push implements heap.Interface.
func (q *items) Push(x any) { *q = append(*q, x.(item)) }

// Pop implements heap.Interface.
func (q *items) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = item{}
	*q = old[:len(old)-1]
	return last
}
