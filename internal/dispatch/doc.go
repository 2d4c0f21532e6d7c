// Package dispatch is the seam between a job that is ready and a worker that is free.
//
// Whether there is a broker is decided once, by choosing one pair:
//
//	             announces ready jobs        feeds workers
//	full         Brokered: hints             BrokeredFeed: hints → claim by number
//	no broker    Polled: wake                PolledFeed: claim by order, a tick as safety net
//
// Both feeds end in a claim, so a running system may change sides, or have both.
package dispatch
