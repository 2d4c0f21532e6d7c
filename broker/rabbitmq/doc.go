// Package rabbitmq carries hints over RabbitMQ 3.8 or newer. It is the only package that imports
// the AMQP client.
//
// # Who owns what
//
//	Run ─┬─ link "publish" ── session ─┬─ goroutine: RPCs (declarations)
//	     │                             ├─ goroutine: notifications of the connection
//	     │                             └─ pubChannel ── goroutine: returns, close
//	     ├─ link "consume" ── session ─┬─ goroutine: RPCs (declarations, depth)
//	     │                             ├─ goroutine: notifications of the connection
//	     │                             └─ serve, one per subscription: its channels' RPCs
//	     │                                  └─ flow, one per band ─┬─ goroutine: close, cancel
//	     │                                                         └─ goroutine: deliveries → inbox
//	     └─ poison: copies what is no hint, over the publish link
//
// A link keeps one connection up: one session after the other, for ever. A session is one
// connection and everything on it, and never reconnects; when it ends its link waits for all of
// its goroutines and then makes the next, which shares nothing with it. A subscription outlives
// sessions; its flows do not. A flow also dies alone, when the broker closes its channel.
//
// Whoever calls Publish, Next, Ack, Pause or Depth brings the goroutine; nothing is started
// outside of Run.
//
// # One hint's way
//
// Publish: await a session, declare the band's queue if this session has not, send everything
// mandatory and persistent, wait for all confirms, catch up with the returns, declare and send
// once more what was returned. What is not confirmed in time is unknown.
//
// Consume: wire → sieve (drops what nobody may trust) → the library's stream → flow (notes the
// tag) → ParseBody → inbox (a heap: priority, then arrival) → Next → Ack (as few frames as the
// tags allow).
//
// # Lock order
//
// Broker.mu before subscription.mu; no other two are held together. flow.mu is held while a
// settlement is written, because frames must leave in the order in which they were made; a write
// ends by the wire's deadline. Nothing is held while an RPC waits.
//
// # Non-obvious
//
//   - amqp.Config.Recovery is nil. With the library's recovery an old delivery's ack settles
//     whichever new delivery has its number.
//   - The library's idea of a deadline is replaced by wire's, from the first byte on. With it a
//     frozen broker is noticed after one and a half heartbeats, and a write that nobody reads
//     fails after one.
//   - The library ends the connection over headers it does not like, and the broker delivers them
//     again to the next one: a single message could stop a consumer for good. The sieve drops all
//     headers and properties before the library sees them, and the rest of bodies that are too
//     long. A delivery's properties are therefore always empty here.
//   - A confirm is not routing. A hint without a queue is confirmed and returned; the return is
//     written first but read by another goroutine, so the publisher asks that goroutine to catch
//     up before it believes the confirms.
//   - The alternate exchange has no queue. With one, mandatory hints would not be returned.
//   - When a channel or connection closes, every confirm that is waited for turns into a nack. It
//     means unknown.
//   - The library reports whatever goes wrong after the password was sent as a wrong password. Only
//     the broker's own word for it counts, and login makes sure that it says it.
//   - The broker closes a channel for an unknown tag, also for "multiple" when nothing is left
//     below. See tags.
//   - A nack that requeues goes back to the same consumer at once. Pause cancels first.
//   - The broker stops reading from a connection that publishes while an alarm is on, and says so
//     late or never. Nothing that must go on during an alarm uses the publish connection.
//   - What the broker refuses (403, 404, 405, 406, 530, certificates) is asked for again after
//     5 s, then 10, then every 20. All else is tried again after 100 ms … 15 s, and while the port is
//     closed 100 ms … 2 s, so that a broker that has restarted is used soon. Both connections
//     together make two attempts in any second, whatever happens.
//   - A queue that was deleted and made again within moments may have a consumer that the broker
//     counts and never serves. So a queue that has vanished is made again after half a second, and
//     a band from which nothing has come for a minute is consumed anew.
//   - A channel whose queue is gone is closed: an ack of what the old queue delivered could settle
//     what the new one did.
//   - A queue's type is decided by whoever declares it first; everybody else warns and uses it.
package rabbitmq
