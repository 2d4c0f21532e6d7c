package jobstore

import (
	"context"
	"time"
)

// The faults that Auditor knows. They are what operators see.
const (
	// FaultOrphan is a PROCESSING job whose consumer is not registered, or whose registration has expired.
	FaultOrphan = "processing-without-consumer"
	// FaultGroupRow says that a group runs a job which is not running: nothing of the group can start.
	FaultGroupRow = "group-without-member"
	// FaultMember is a PROCESSING member of a group that the group does not know of: a second one could start.
	FaultMember = "member-without-group"
	// FaultKey is a unique key that is held until a job has ended, by a job that has, or that does not exist.
	FaultKey = "key-without-job"
	// FaultOutbox is a READY job whose announcement has been due for longer than Overdue.
	FaultOutbox = "outbox-overdue"
	// FaultDue is a delayed job that has been due for longer than Overdue and is not READY.
	FaultDue = "due-not-ready"
)

// Overdue is how late the sweep may be before an Auditor finds fault with it: twenty of its rounds.
const Overdue = 10 * time.Second

// Fault is something that should not be, or should not last. Its band is empty where no job with
// that number exists.
type Fault struct {
	Fault string
	Ref
}

// Auditor compares rows with each other and with what is in the broker. One look at a running
// system sees things on their way; what two looks some seconds apart have in common is wrong.
type Auditor interface {
	// Faults lists all faults of one moment, by fault and number. It reads every live row.
	Faults(ctx context.Context) ([]Fault, error)
	// Mend removes group rows and keys that nobody has, gives running members their group's row
	// back, and registers missing consumers as dead, for Rescue to hand back what they held. Other
	// faults, and those that are gone by now, are left alone.
	Mend(ctx context.Context, faults []Fault) error
	// Claimable lists at most limit jobs of a band, by number, from after on, that a consumer could
	// claim and that nobody is about to announce. Members of serial groups are not among them.
	Claimable(ctx context.Context, band Band, after ID, limit int) ([]ID, error)
	// ClaimableHeads is Claimable for the serial groups: at most one job each, of all bands.
	ClaimableHeads(ctx context.Context) ([]Ref, error)
	// ClaimableOf returns those of the ids that Claimable or ClaimableHeads would list for the band.
	ClaimableOf(ctx context.Context, band Band, ids []ID) ([]ID, error)
	// ReadyOf returns those of the ids that are READY jobs of the band: a hint of any other is in vain.
	ReadyOf(ctx context.Context, band Band, ids []ID) ([]ID, error)
}
