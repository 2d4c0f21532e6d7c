// Package sqlite keeps jobs in a file, for programs that want no server. It is the only package
// that speaks SQLite, through a driver in pure Go.
//
//	store, err := sqlite.Open(ctx, "/var/lib/warren/warren.db", sqlite.Config{})
//
// There is one file for each verb of package jobstore, as in package postgres, and each SQL
// statement is a constant right above the function that runs it. docs/decisions/0006-sqlite.md
// says why things are as they are.
//
// # One writer
//
// SQLite lets one transaction write at a time. All writing verbs go through one connection, and
// calls that wait at the same moment share a transaction and its commit (batcher.go). So there is
// nothing to lock and nothing to retry: a verb reads rows, decides in Go, and writes, and nobody
// writes in between. Reading verbs have connections of their own, which see the last commit.
//
// # Several processes
//
// Producers, commands of operators and a person with sqlite3 may use the file at any time; a
// transaction waits up to 10 s for another's. Only one process may consume: Register takes a lock
// on <file>-consumer, which ends with the process however that ends. Whoever gets it knows that
// all others are dead, and expires their registrations at once.
//
// # Transactions of users
//
// A program that has its own tables in the same file opens a handle with DSN, begins a transaction
// with it and hands it over with Tx. In between it holds up every other writer, so it should be short.
// Inside InTx, and inside such a transaction, only the verbs that take it can write: Insert
// would wait for the transaction that waits for it, and fails after 10 s.
//
// # Clock
//
// There is one clock, Config.Now of the process that acts, because there is no server that could
// have one. Triggers use it where they can (a successor is due "every" after finished_at) and the
// machine's clock for what people write by hand.
package sqlite
