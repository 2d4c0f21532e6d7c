// Package handlers holds what the stock handlers share. The handlers themselves are in the
// packages below it, each also a worked example of the public API:
//
//	webhook   POSTs the job to a URL
//	command   runs a program with the job on its standard input
//	probe     does what its args say, for demonstrations and tests
//
// A handler for another way out (a queue of another system, an RPC) gets the same form of a job
// from Document.
package handlers
