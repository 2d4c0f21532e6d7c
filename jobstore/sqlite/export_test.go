package sqlite

import (
	"context"
	"strconv"
	"testing"
)

// Wrap is what a store of the file at path makes of an error.
func Wrap(path string, err error) error { return (&Store{path: path}).wrap("test", err) }

// Limit lets the file grow to so many pages.
func (s *Store) Limit(tb testing.TB, pages int) {
	tb.Helper()
	_, err := writing(tb.Context(), s, func(ctx context.Context, q session) ([]int64, error) {
		return gather(ctx, q, "PRAGMA max_page_count = "+strconv.Itoa(pages), scanInt)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// HotSQL are the statements that run while jobs do, by name.
func HotSQL() map[string]string {
	return map[string]string{
		"claim": claimSQL, "granted": grantedSQL, "grant": grantSQL, "absorb": absorbSQL, "strange": strangeSQL, "alive": aliveSQL,
		"claim next": claimBandSQL, "claim heads": claimHeadsSQL, "blocker": blockerSQL,
		"leased": leasedSQL, "end": endSQL, "keep": keepSQL, "note": noteSQL, "heads of": headsOfSQL, "heads": headsSQL,
		"look": lookSQL, "due": dueSQL, "outbox": outboxSQL, "announced": announcedSQL, "tell": tellSQL, "ready from": readyFromSQL,
		"held": heldSQL, "back": backSQL, "quarantine": quarantineSQL, "bury": buryDeadSQL, "remove": removeHolderSQL, "consumers": consumersSQL,
		"retain": retainSQL, "retain keys": retainKeysSQL, "clear": clearSQL, "ended": endedSQL,
		"reannounce": reannounceSQL, "reannounce groups": reannounceGroupsSQL,
		"bands": bandsSQL, "ready": readySQL, "others": othersSQL, "outbox gauge": outboxGaugeSQL,
		"get": getSQL, "unfinished": unfinishedSQL, "subjects": subjectsSQL, "retry": retrySQL, "cancel": cancelSQL, "delete": deleteSQL, "edit": editSQL, "edit, encrypted": isSealedSQL,
		"ahead": aheadSQL, "ahead due": aheadDueSQL, "ahead heads": aheadHeadsSQL, "position": explainPositionSQL, "known queue": knownQueueSQL,
		"due schedules": dueSchedulesSQL, "move schedule": moveScheduleSQL, "withdraw": withdrawSQL, "withdraw tick": withdrawTickSQL,
		"taken tick": takenTickSQL, "row that waits": waitsSQL, "forget ticks": forgetTicksSQL, "schedule runs": scheduleRunsSQL,
		"bucket": bucketSQL, "keep bucket": keepBucketSQL, "free dead locks": freeDeadSQL, "held locks": heldLocksSQL, "keep lock": keepLockSQL,
		"unlock": unlockSQL, "first waiting": firstWaitingSQL, "go on": goOnSQL, "breaker": breakerSQL, "keep breaker": keepBreakerSQL,
		"lease alive": leaseAliveSQL,
		"ends":        endsSQL, "take ends": takeEndsSQL, "load steps": loadStepsSQL, "load edges": loadEdgesSQL, "children": childrenSQL,
		"flow": flowSQL, "steps of a flow": flowStepsSQL, "jobs of steps": stepJobsSQL, "called jobs": calledJobsSQL,
		"decided": decidedSQL, "key holder": keyHolderSQL,
	}
}

// Waiting is how many calls wait for the next transaction.
func (s *Store) Waiting() int {
	s.write.mu.Lock()
	defer s.write.mu.Unlock()
	return len(s.write.queue)
}

// Flying reports whether a transaction is under way or waits for the connection, with no call
// left in the queue.
func (s *Store) Flying() bool {
	s.write.mu.Lock()
	defer s.write.mu.Unlock()
	return s.write.flying && len(s.write.queue) == 0
}

// Occupy takes the writer's connection until release is called.
func (s *Store) Occupy(tb testing.TB) (release func()) {
	tb.Helper()
	if err := s.write.enter(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return s.write.leave
}
