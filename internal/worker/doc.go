// Package worker runs leased jobs: slots that pull work from a feed, what an attempt comes to,
// and the lease of this process.
//
//	Keeper ── Term ──┐ one registered life of this process; handlers' contexts hang from it
//	                 │
//	Feed ── Work ── Pool: slot ── call (the handler's own goroutine) ── Decide ── Completer
//	                              └─ lease lost ── Returns: handed back, without a crash counted
//
// Non-obvious:
//   - A slot never waits for a handler without end: after its context ended a handler has a grace,
//     then its goroutine is left behind and the slot goes on. So nothing that belongs to a user
//     runs in a slot's own goroutine, where an exit or a hang would take the slot with it.
//   - A term is asked for its life (Alive) after everything that may have taken time, because only
//     the clock tells a process that it was frozen.
//   - A job can be leased to this process again before it has heard that the outcome of the lease
//     before was recorded. What is held is therefore kept, and dropped, by lease number.
package worker
