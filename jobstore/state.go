package jobstore

import "slices"

// State is where a job stands, spelled the same in SQL, JSON, the command line and logs.
type State string

// The states of a job. Every one of them is either live (it may still run) or
// final (it has ended and stays so until a person asks for another run).
const (
	// Ready may be claimed now.
	Ready State = "READY"
	// Scheduled has its first time in the future.
	Scheduled State = "SCHEDULED"
	// Processing is leased to a consumer.
	Processing State = "PROCESSING"
	// Waiting was asked for by its handler and uses up no attempt.
	Waiting State = "WAITING"
	// TemporarilyFailed backs off before its next attempt.
	TemporarilyFailed State = "TEMPORARILY_FAILED"
	// BrokerFailed is never written by Warren; from SQL it counts as due at its available_at.
	BrokerFailed State = "BROKER_FAILED"
	// BackToBroker is an operator's order to run the job again; the sweep makes it Ready.
	BackToBroker State = "BACK_TO_BROKER"
	// Finished ended well.
	Finished State = "FINISHED"
	// PermanentlyFailed ended badly; a person decides what is next.
	PermanentlyFailed State = "PERMANENTLY_FAILED"
	// Redundant was not needed: another job with its unique key exists, or one that started absorbed it.
	Redundant State = "REDUNDANT"
	// Cancelled was called off.
	Cancelled State = "CANCELLED"
	// Quarantined took too many consumer processes down with it.
	Quarantined State = "QUARANTINED"
)

// States lists every state, live ones first, in the order people read them.
func States() []State {
	return []State{
		Ready, Scheduled, Processing, Waiting, TemporarilyFailed, BrokerFailed, BackToBroker,
		Finished, PermanentlyFailed, Redundant, Cancelled, Quarantined,
	}
}

// Final reports whether a job in this state has ended.
func (s State) Final() bool {
	switch s {
	case Finished, PermanentlyFailed, Redundant, Cancelled, Quarantined:
		return true
	case Ready, Scheduled, Processing, Waiting, TemporarilyFailed, BrokerFailed, BackToBroker:
		return false
	}
	return false
}

// Valid reports whether s is one of States.
func (s State) Valid() bool { return slices.Contains(States(), s) }

// Legal reports whether a job may go from one state to another, whoever moves
// it. It is the one table of moves: the database trigger is tested against it.
//
// Only a claim enters Processing (from Ready) and only the lease's holder, or
// the rescue of a dead holder, leaves it. A final state is left only by
// BackToBroker, which is an operator's order.
func Legal(from, to State) bool {
	switch {
	case from == to:
		return true
	case to == Processing:
		return from == Ready
	case from == Processing:
		return to != Scheduled && to != BrokerFailed && to != BackToBroker
	case from.Final():
		return to == BackToBroker
	default:
		return true
	}
}
