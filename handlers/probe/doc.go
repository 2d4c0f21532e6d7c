// Package probe is a stock handler that does what its args say: sleep, fail, wait, panic, hang.
// It is for demonstrations and for tests of Warren itself and of installations of it.
//
// All fields of the args are optional; {} is a job that does nothing and ends well.
//
//	{
//	  "sleep":      "10ms",   how long to work, a Go duration
//	  "steps":      20,       sleep in so many parts, and tell the progress and a line of the log after each
//	  "outcome":    "ok",     ok, temporary, permanent, wait, skip, stop, panic or hang
//	  "fail_times": 2,        with outcome ok: the first two attempts fail
//	  "message":    "…",      the text of the error, of the panic, or the reason of a skip
//	  "append":     "FILE",   a ledger, see below
//	  "wait":       "60s"     with outcome wait: for how long
//	}
//
// What it does, in order: the start line in the ledger, the sleep, the end line, the outcome.
// "stop" is a bare warren.StopConsumer(nil), whatever the message. "hang" blocks for ever, deaf
// to its context: its goroutine is lost, as with any handler that does so. Args that are not of
// this form fail for good, with an error that names the field.
//
// # The ledger
//
// A ledger is an account of what ran that depends on neither the database nor the broker: it
// survives kill -9. Each event is one line in one write, to a file opened with O_APPEND, so that
// any number of processes may share it:
//
//	id attempt lease pid start|end unix_nanos group
//
// The group is "-" when the job has none; it comes last because it may hold spaces. The end line
// is there whenever the handler ends, whatever the outcome, a panic and a cancelled sleep
// included. It is missing when the process died, and for "hang", which does not end.
//
// Whoever may publish a probe may append such lines to any file that the consumer may write:
// do not offer this kind to producers you do not trust.
package probe
