// Package schedule knows when the jobs of a schedule run, and what is to be written when a time has
// come. It is pure: the time, the row of the schedule and the random numbers are given to it, and what
// it returns is a jobstore.ScheduleMove for the database to carry out.
//
// A tick is a time at which a schedule has a job to run. The job of the next tick is always there as a
// row; when its time has come the sweep lets it go and plants the row of the tick after that.
package schedule
