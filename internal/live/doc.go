// Package live shows a person what a consumer in this process does: on a terminal a view that is
// drawn anew five times a second, elsewhere plain lines.
//
// A Board is told by the consumer's events what runs and what came of it, and asks the database once
// a second how much is waiting. Drawing is a pure function of what it knows (frame.go), so a test
// reads the same text that a person sees.
package live
