// Package arrows holds no code. Its test reads the import graph of the whole module and fails when
// a package imports what it must not: the arrows of docs/ARCHITECTURE.md, so that a SQLite user
// compiles neither pgx nor AMQP, and that no test kit reaches a production binary.
//
// depguard checks direct imports in an editor; this test also sees what comes along through others.
package arrows
