// Package command is a stock handler that runs a program for each job.
//
// The program and its arguments come from the configuration only. There is no shell, and nothing
// of a job is put into them: the job comes as one line of JSON on the standard input.
//
//	{"id":7,"kind":"resize","args":{…},"attempt":1,"queue":"media","priority":30,"identifier":"","metadata":{}}
//
// # Environment
//
// The program has the consumer's environment as it was when the handler was made, without
// DATABASE_URL and AMQP_URL (and their _FILE) and all that begins with WARREN_ or, as PGPASSWORD and
// PGPASSFILE do, with PG, because Warren's own passwords are there; then Config.Env, which can give
// any but WARREN_… back, with an account of the program's own; then WARREN_JOB_ID (use it as an
// idempotency key: a job can run more than once), WARREN_ATTEMPT (from 1) and WARREN_LEASE (which
// grows with every run of the job, so that a store can refuse the late write of an older run).
//
// # Outcome
//
//	exit status   the job
//	0             is done; the standard output is kept as its output
//	65            failed for good (EX_DATAERR of sysexits.h)
//	69            waits for a minute, without using up an attempt (EX_UNAVAILABLE)
//	75, others    failed for now (75 is EX_TEMPFAIL); so does one that a signal ended
//
// The output is kept as JSON if it is JSON, else as a JSON string; the first 64 KiB of it. Each
// line on the standard error becomes a line of the job's log, and the last one the text of its
// error: 64 KiB of lines, and 4 KiB of each.
//
// # End
//
// The program leads a process group of its own. When the job is called off (its timeout, a
// shutdown, a lost lease) the group gets SIGTERM, and SIGKILL when Config.Grace has passed. The
// attempt then counts as interrupted whatever the exit status is, because a program that
// finishes early after SIGTERM exits with 0 too. What a program leaves behind in its group is
// killed when it has ended: a job that is done has nothing running any more. On Linux the program
// is also killed when the consumer dies without a chance to say so. A program of your own that
// ends without waiting for its handlers calls KillAll first, as the consumer command does. On systems without process
// groups only the program itself is killed.
package command
