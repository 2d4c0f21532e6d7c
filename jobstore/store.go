package jobstore

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors every store returns, wrapped.
var (
	// ErrNotFound means that no job has this number.
	ErrNotFound = errors.New("not found")
	// ErrHolderGone means that the consumer's registration has expired or was removed:
	// whatever it held may run elsewhere.
	ErrHolderGone = errors.New("the consumer's lease has expired")
	// ErrBusy means that there are jobs to claim, and that others have them locked at this moment.
	ErrBusy = errors.New("jobs are locked by others at this moment")
	// ErrSchema means that the database has no schema, or one this program cannot work with.
	ErrSchema = errors.New("database schema does not fit this program")
	// ErrRefused means that the job's state does not allow what was asked.
	ErrRefused = errors.New("refused")
	// ErrInvalid means that the data cannot be stored, now or later; another try is pointless.
	ErrInvalid = errors.New("invalid")
)

// Tx is a caller's open transaction, opaque here. postgres.Tx and sqlite.Tx make one.
type Tx struct{ Handle any }

// Inserter writes new rows.
type Inserter interface {
	// Insert writes all jobs or none, and returns when they are committed. Concurrent calls
	// share statements and commits; a call alone is not delayed.
	Insert(ctx context.Context, jobs []NewJob) ([]Inserted, error)
	// InsertTx writes them inside the caller's transaction.
	InsertTx(ctx context.Context, tx Tx, jobs []NewJob) ([]Inserted, error)
	// InTx runs fn in a transaction of the store's own and commits it when fn returns nil.
	InTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error
}

// Claimer turns numbers, or the order of rows, into leases. Both verbs are one conditional
// statement per batch: state, due time, band, kind, living holder and a free serial group are
// checked by the database, which then sets Processing, the holder, the next lease number and
// one more attempt. ErrHolderGone when the claimant is no longer registered.
type Claimer interface {
	Claim(ctx context.Context, by Claimant, ids []ID) (Claimed, error)
	// ClaimNext takes at most n, in (priority, id) order over the claimant's bands, or in that of its Turns. No leases and no
	// error means that there was nothing to claim; ErrBusy, that there was, and others have it locked.
	ClaimNext(ctx context.Context, by Claimant, n int) ([]Lease, error)
	// ReleaseUnknown hands back rows that claims with these tokens have leased to holder but that are not in known: what
	// they granted without their replies arriving. Their attempt is given back. It touches nothing that was claimed
	// under another token, however late it arrives.
	ReleaseUnknown(ctx context.Context, holder HolderID, tokens []int64, known []ID) ([]Ref, error)
}

// Recorder writes outcomes, fenced by holder and lease number. Recording the same outcome
// twice under one lease is the same as once.
type Recorder interface {
	Record(ctx context.Context, by HolderID, done []Outcome) (Recorded, error)
	// RecordTx does it inside the caller's transaction; Fenced means the caller must roll back.
	// Released refs of a serial group are found by the sweep, or by Heads after the commit.
	RecordTx(ctx context.Context, tx Tx, by HolderID, done []Outcome) (Recorded, error)
	// Return hands rows back by lease number without a registration: READY, due now, attempt
	// given back, crashes unchanged. A process that fenced itself does this for what it still ran.
	Return(ctx context.Context, by HolderID, leases map[ID]int64) ([]Ref, error)
}

// Noter writes down what attempts say when they begin, for others to read while they run.
type Noter interface {
	// Note merges metadata into the rows that by has leased under these numbers. Any other row is
	// left alone, which is no error: its outcome is fenced, too. Twice is the same as once.
	// Concurrent calls share statements and commits.
	Note(ctx context.Context, by HolderID, notes []Note) error
}

// Consumer describes a process that registers.
type Consumer struct {
	// Name is what people call it, "" for nothing; it need not be unique.
	Name       string   `json:"name,omitempty"`
	Host       string   `json:"host"`
	PID        int      `json:"pid"`
	Version    string   `json:"version"`
	Kinds      []string `json:"kinds"`
	Queues     []string `json:"queues"`
	Priorities []int    `json:"priorities"`
	Slots      int      `json:"slots"`
	Force      bool     `json:"force,omitempty"` // it goes on while everything is paused
}

// Orders is what a heartbeat brings back.
type Orders struct {
	// Restart asks the process to drain and exit 0.
	Restart bool
	// Cancel are attempts of the process that are to end, by the numbers of their leases.
	Cancel map[ID]int64
	// Leaderless says that nobody leads the sweep at the moment.
	Leaderless bool
	// Edition is that of KindSettings.
	Edition int64
}

// Registrar keeps the heartbeat rows: one per consumer process, instead of one write per running job.
type Registrar interface {
	Register(ctx context.Context, c Consumer, ttl time.Duration) (HolderID, error)
	// Renew returns ErrHolderGone when the row has expired or was removed.
	Renew(ctx context.Context, id HolderID, ttl time.Duration) (Orders, error)
	// Deregister removes the row. Rows it still holds are rescued as by expiry.
	Deregister(ctx context.Context, id HolderID) error
	Consumers(ctx context.Context) ([]ConsumerInfo, error)
}

// ConsumerInfo is a registered consumer as operators see it.
type ConsumerInfo struct {
	ID HolderID `json:"id"`
	Consumer
	StartedAt   time.Time `json:"started_at"`
	HeartbeatAt time.Time `json:"heartbeat_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	Running     int       `json:"running"`
	Alive       bool      `json:"alive"`      // its registration has not expired
	Restarting  bool      `json:"restarting"` // it was told to drain and exit
}

// Elector holds the lease rows of leaders.
type Elector interface {
	// Lead takes or renews the named lease for who, for ttl, and reports whether who has it.
	// The epoch grows with each change of leader.
	Lead(ctx context.Context, name, who string, ttl time.Duration) (epoch int64, ok bool, err error)
	// Resign gives the lease up if who has it.
	Resign(ctx context.Context, name, who string) error
}

// Look is one glance at what the sweep could do, in one statement.
type Look struct {
	Due    bool          // a delayed row is due, or BACK_TO_BROKER / BROKER_FAILED rows exist
	Outbox bool          // a READY row waits to be announced
	Next   time.Duration // until the next delayed row is due; 0 = none in sight
	// Schedules says that there are some to look at, Flows that there is something to settle.
	Schedules, Flows bool
}

// Rescued is what a rescue round did.
type Rescued struct {
	Released    []Ref
	Quarantined []ID
	Crashed     int           // jobs they were running, quarantined ones included: one crash more each
	Consumers   int           // dead registrations removed
	Next        time.Duration // until the earliest living registration expires; 0 = none
}

// Retention says how long each final state is kept after it ended. A state that is missing is kept for ever.
type Retention map[State]time.Duration

// Sweeper has one verb for each part of the periodic round. Every verb is one short, bounded
// piece of work, safe to run twice and by two leaders at once.
type Sweeper interface {
	Look(ctx context.Context) (Look, error)
	// Due makes at most limit due rows READY, and returns those that can be claimed. Beside an error
	// it may return some.
	Due(ctx context.Context, limit int) ([]Ref, error)
	// Outbox lists at most limit READY rows whose announcement is due. It writes nothing.
	Outbox(ctx context.Context, limit int) ([]Ref, error)
	// Announced takes rows out of the outbox after the broker confirmed them.
	Announced(ctx context.Context, ids []ID) error
	// Unannounced puts rows into the outbox, because announcing them failed.
	Unannounced(ctx context.Context, ids []ID) error
	// AnnounceLater has rows wait in the outbox for that long before their announcement is due again, behind others.
	AnnounceLater(ctx context.Context, ids []ID, after time.Duration) error
	// Oldest returns the oldest READY row of each band that has one and whose queue is not paused (rows of serial groups excluded).
	Oldest(ctx context.Context, bands []Band) ([]Ref, error)
	// ReadyFrom looks at limit of those, oldest first, from a number on, and returns the ones that a living consumer of the band
	// may claim: whose kind it has and nobody has paused. next is where to go on, 0 at the end of the band.
	ReadyFrom(ctx context.Context, band Band, from ID, limit int) (refs []Ref, next ID, err error)
	// Heads lists at most limit READY heads of serial groups that have nothing running and that a living consumer may
	// claim, and mends group rows.
	Heads(ctx context.Context, limit int) ([]Ref, error)
	// LiveBands lists the bands that living consumers take.
	LiveBands(ctx context.Context) ([]Band, error)
	// Rescue hands back what at most limit rows of dead consumers held. A job with maxCrashes
	// crashes is quarantined instead. Beside an error there may be some.
	Rescue(ctx context.Context, limit, maxCrashes int) (Rescued, error)
	// Retain removes rows past retention, at most limit, and reports how many went.
	Retain(ctx context.Context, keep Retention, limit int) (int, error)
}

// Waker tells consumers without a broker that rows are ready. It is a hint for speed only.
type Waker interface {
	// Wake tells every listening process.
	Wake(ctx context.Context, bands []Band) error
	// Listen calls wake once it hears, and for every Wake from then on until ctx ends. It returns an
	// error at once where there is nothing to listen to (a transaction pooler, say).
	Listen(ctx context.Context, wake func()) error
}

// Filter selects jobs. Empty fields select all.
type Filter struct {
	States       []State
	Queues       []string
	Kinds        []string
	MinPriority  *int
	MaxPriority  *int
	Priorities   []int
	Identifiers  []string
	SerialGroups []string
	CreatedBy    []string // created_by of their metadata
	Tags         []string
	Where        []ArgsMatch
	OlderThan    time.Duration // created at least this long ago
	IDs          []ID
	Ranges       [][2]ID // numbers from and to, both included
	After        ID      // rows after this number, for paging
	Limit        int
}

// ArgsMatch compares one value inside args with a text: {"to"} = "a@b.c".
type ArgsMatch struct {
	Path  []string
	Value string
}

// Stats is the count of every state, zero included, per queue and in all.
type Stats struct {
	Total  map[State]int64            `json:"total"`
	Queues map[string]map[State]int64 `json:"queues"`
}

// Reader looks at rows.
type Reader interface {
	// Get returns ErrNotFound for a number no job has.
	Get(ctx context.Context, id ID) (Job, error)
	List(ctx context.Context, f Filter) ([]Job, error)
	Stats(ctx context.Context) (Stats, error)
	// EndedByKind counts the jobs that ended within a period and are still kept, by kind.
	EndedByKind(ctx context.Context, within time.Duration) ([]KindEnded, error)
	// Unfinished returns those of the identifiers that have a job which is not done.
	// PERMANENTLY_FAILED counts as not done.
	Unfinished(ctx context.Context, identifiers []string, excludeProcessing bool) ([]string, error)
}

// KindDefaults is what the database needs to know of a kind: so that SQL producers get its defaults, and
// for people who look.
type KindDefaults struct {
	Kind        string
	Queue       string
	Priority    int
	MaxAttempts int
	Timeout     time.Duration
	GroupSkip   bool

	Title, Description, Scope string
	Schema                    json.RawMessage // of args; nil = unknown
	// Defaults are its settings as the program has them, SettingsSchema what they may be; nil = none.
	Defaults, SettingsSchema json.RawMessage
}

// Settings is the part of the configuration that warren.enqueue() validates against.
type Settings struct {
	Priorities   []int
	DefaultQueue string
	MaxArgs      int // bytes
	Kinds        []KindDefaults
	// Version is that of the program. Two versions at once do not overwrite each other's words about a kind: those
	// of one that was seen before count only when no consumer of the other lives.
	Version string
}

// Migration is one step of the schema.
type Migration struct {
	Number  int    `json:"number"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// Admin prepares and inspects the database.
type Admin interface {
	// Migrate brings the schema up to this program's. Ten processes may call it at once.
	Migrate(ctx context.Context) error
	Migrations(ctx context.Context) ([]Migration, error)
	// Check returns ErrSchema, with what to do, unless the schema fits.
	Check(ctx context.Context) error
	Configure(ctx context.Context, s Settings) error
}

// Store is every role at once, for wiring and for storetest.
type Store interface {
	Inserter
	Requester
	Claimer
	Recorder
	Noter
	Teller
	LogKeeper
	Filer
	FileStore
	Registrar
	Elector
	Sweeper
	Waker
	Reader
	Explainer
	Operator
	Changer
	Scheduler
	Housekeeper
	Auditor
	Resealer
	Queues
	Pauser
	Kinds
	Historian
	Canceller
	Gauger
	Guard
	Flows
	Admin
	Close()
}
