package rabbitmq

import (
	"time"

	"github.com/warrenq/warren/broker"
)

// Arrived counts what has arrived at s and was not taken.
func Arrived(s broker.Subscription) int {
	sub := s.(*subscription)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return len(sub.inbox.items)
}

// Tag is the number of a delivery on its channel.
func Tag(d broker.Delivery) uint64 { return d.Settle.(receipt).tag }

// Endpoint is the first node of b as it is kept.
func Endpoint(b *Broker) any { return b.pub.nodes[0] }

// RenewAfter makes b consume anew from bands from which nothing has come for d.
func RenewAfter(b *Broker, d time.Duration) { b.renewAfter = d }

// SetSpan is how many messages one channel of a Held takes from now on.
func (a *Admin) SetSpan(n int) { a.span = n }
