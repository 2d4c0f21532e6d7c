// Package postgres keeps jobs in PostgreSQL. It is the only package that speaks pgx.
//
// There is one file for each verb of package jobstore, and each SQL statement is a constant right
// above the one function that runs it. "@schema@" in a statement stands for the quoted name of
// the schema. Everything works behind a transaction pooler: no session locks, no session
// settings, and LISTEN only through a direct connection, as a hint.
//
// # Where rows are
//
// warren.jobs has two partitions: jobs_live for states that may still run and jobs_history for
// final ones. Hot statements name the partition. A job that ends is deleted from the one and
// inserted into the other by the same statement, rather than by an UPDATE of the partition key:
// a person's UPDATE over many rows that meets a row moved by UPDATE fails with 40001, while one
// that meets a deleted row passes over it.
//
// # Lock order
//
// consumers, then jobs, then job_groups, then job_keys. Claims never wait for a job's row (SKIP
// LOCKED) and insert group rows in key order; outcomes and rescues take job rows in the order of
// their numbers as far as the planner lets them, and what is left is a deadlock that is retried.
//
// # Non-obvious
//
//   - A row of job_groups exists while a member of the group is PROCESSING. Its primary key is the
//     exclusion; a check of states alone lets two members run, because one statement's snapshot
//     may be older than the other's commit.
//   - The head of a group is read from the statement's snapshot. That is enough, because the
//     claim then locks the row's newest version, where it must still be READY.
//   - By-number statements hide columns from partial indexes: state is concatenated with an empty
//     text, holder goes through coalesce. Written plainly, wrong statistics make the planner scan
//     a whole index instead of looking up numbers; holder + 0 is not enough, because it too
//     implies that holder is not null.
//   - "Recorded already" is outcome_lease = lease_no, not the state: after a back-off the sweep
//     has made the row READY, and after a rescue it is READY too.
package postgres
