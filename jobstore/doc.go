// Package jobstore is the row: what a job is, which states it may be in, which
// moves between them are legal, and the roles a database plays for Warren.
//
// Your jobs live in the database; a broker only carries their numbers. Whatever
// a message says, the row decides. Two packages implement the roles: postgres
// and sqlite. Both pass the contract in storetest.
//
// Every time that decides something (due, leased, expired) is read from the
// database's clock. Callers hand over durations, never instants of their own,
// except where a user named an instant.
package jobstore
