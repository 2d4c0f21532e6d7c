package rabbitmq

import "sync/atomic"

// Stats are counts since Open. They only grow.
type Stats struct {
	// Attempts counts connection attempts of both connections, Connected those that succeeded.
	Attempts, Connected uint64
	// Confirmed counts messages that are known to be in a queue, Unconfirmed those that may be.
	Confirmed, Unconfirmed uint64
	// Returned counts messages that no queue took; most of them were sent again with success.
	Returned uint64
	// Poison counts messages that arrived and were no hints.
	Poison uint64
}

type counters struct {
	attempts, connected, confirmed, unconfirmed, returned, poison atomic.Uint64
}

// Stats returns the counts. It may be called at any time.
func (b *Broker) Stats() Stats {
	c := b.count
	return Stats{
		Attempts: c.attempts.Load(), Connected: c.connected.Load(),
		Confirmed: c.confirmed.Load(), Unconfirmed: c.unconfirmed.Load(),
		Returned: c.returned.Load(), Poison: c.poison.Load(),
	}
}
