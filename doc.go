// Package warren runs background jobs for services that already have PostgreSQL and RabbitMQ, and
// for small ones that have neither.
//
// Your jobs live in PostgreSQL. RabbitMQ only carries their numbers.
//
// # The promise
//
// At-least-once execution; exactly one accepted outcome per attempt; no two un-paused executions
// of one job, or of one serial group, at a time. Nothing committed is ever lost.
//
// Handlers therefore have to bear being run twice for one job: after a crash, or when a process
// was frozen past its lease. A job's ID is the key to make an effect happen once.
//
// # Five minutes
//
// A kind of jobs is a struct that encodes to JSON and names itself:
//
//	type Mail struct {
//		To string `json:"to"`
//	}
//
//	func (Mail) Kind() string { return "mail" }
//
// [Register] gives it a handler; what the handler returns decides what becomes of the job: nil,
// any error (tried again after 1, 2, 4, 8, 16, 16 … minutes), [Permanent], [Wait], [RetryAfter],
// [Skip] or [StopConsumer]. A [Client] publishes, a [Consumer] runs. The package example is a whole
// program; see also the examples of [Client.Publish], [Client.PublishTx], [Client.InTx],
// [Middleware] and [Hooks].
//
// # Publishing and transactions
//
// A publish has succeeded when its row is committed, and never waits for the broker.
// [Client.Publish] commits by itself; [Client.PublishTx] writes inside a transaction of yours, so
// that a job exists if and only if your data does; [Client.InTx] does the same in a transaction of
// the store's and announces right after its commit. Producers in other languages call
// warren.enqueue() in SQL.
//
// # Priorities, queues, groups
//
// A job has a queue and a priority, one of those configured; lower numbers run first. A consumer
// takes some queues ([ConsumerConfig].Queues) and is bound to some priorities (Take): the best
// priority first, over all its queues. Jobs of one serial group run one at a time, in (priority,
// id) order, over any number of consumers.
//
// # When things break
//
// A process keeps one lease, renewed every 5 s. If it cannot be renewed for 20 s, its jobs run
// elsewhere; the process notices by itself, cancels its handlers with [ErrLeaseLost] and drops
// what they return. A job during which three processes died is QUARANTINED. While the broker is
// away jobs wait in their rows; while the database is away consumers wait for it.
//
// # Without a broker
//
// Leave [ConsumerConfig].Broker nil: consumers look into the database, woken by NOTIFY where a
// direct connection allows it. Handlers, states and promises are the same, and a running system
// may change sides.
package warren
