// Package warrentest runs jobs inside a unit test: the real client, handlers and outcomes on a
// database in memory, without a server and without waiting.
//
//	env := warrentest.New(t, &registry)
//	service := NewService(env.Client())     // the code under test publishes as ever
//	service.SignUp("ada@example.com")
//	warrentest.RequirePublished[Welcome](t, env)
//	for _, attempt := range env.Drain() { … } // its jobs, and theirs, have run
//
// There are four ways to look at jobs:
//   - [RequirePublished], [RequireNotPublished], [RequireNothingPublished] and [Published] ask what
//     was published, whether it ran or not.
//   - [Env.Drain] runs everything that is due and tells what came of it.
//   - [Opts].Inline runs each job before its Publish returns.
//   - [Perform] and [PerformFunc] run one attempt of one handler; [Attempt.RequireWait] and its like ask what it said.
//
// # Time
//
// The clock of an [Env] stands still until [Env.Advance] moves it. A job that is delayed, waits, or
// failed for now becomes due by that, and not by waiting. Only what Warren itself does goes by this
// clock: time.Now, contexts and the timeout of an attempt are real.
//
// In a bubble of testing/synctest what a handler waits for takes no time, and timeouts are exact. Make
// the Env inside of the bubble. Opts.Patience is time of the bubble there.
//
// Handlers run in goroutines of their own: a test's Error is right in them, its Fatal is not.
//
// # Inline
//
// With [Opts].Inline a publish returns when the attempt of its job has ended, and every other job
// that is due has had its turn. In [warren.Client.InTx] that is after the commit. Inside a handler
// the new job runs first and the handler goes on afterwards. Only a job whose serial group is busy, with
// the handler itself, say, runs later, and its Publish does not wait for that. That an attempt failed is
// no error of Publish: see [Env.Job].
package warrentest
