// Package testenv gives tests real PostgreSQL and RabbitMQ servers that nobody else uses.
//
// A test never talks to a server it did not start: ports are chosen free, data lives under
// /tmp/warren-testenv-*, and the standard ports are never tried. Two kinds are on offer:
//
//   - Shared servers, one of each per test process, started at first use: [Postgres] gives an
//     empty database of its own, [RabbitMQ] an empty vhost. A package that uses them calls
//     [Main] from its TestMain, which stops them at the end and looks for leaked goroutines.
//   - Dedicated servers that a test may break: [NewPostgres], [NewRabbitMQ], [NewPgBouncer],
//     and [NewProxy] for the wire between.
//
// Where a shared server comes from, in this order:
//
//  1. WARREN_TEST_DATABASE_URL, WARREN_TEST_AMQP_URL: a server that somebody else started, such
//     as cmd/with-servers, which lets all packages of one `go test ./...` share one of each.
//     The database role must be a superuser. For a vhost per test WARREN_TEST_AMQP_MANAGEMENT_URL
//     names the management API; without it the AMQP URL is used as it is.
//     WARREN_TEST_RABBITMQCTL is the command line that [RabbitCtl] runs.
//  2. Binaries of PostgreSQL and RabbitMQ on this machine.
//  3. Debian packages, installed when the process is root. No service is started by that.
//
// With -short a test that asks for a server is skipped, and says so; when CI=true it fails
// instead, because a run that checks nothing must not look green.
//
// # Non-obvious
//
//   - Servers are children with a parent-death signal, so a killed test process takes them along.
//     That signal is bound to the thread that forked; each child therefore has a goroutine that
//     keeps its thread until the child is gone.
//   - A data directory is locked (flock) by the process that made it. Whoever makes the next one
//     removes those whose lock is free: their owners died without cleaning up.
//   - A port is reserved by an abstract unix socket, below the range the kernel gives to outgoing
//     connections. A server that is down may thus come back on its port.
package testenv
