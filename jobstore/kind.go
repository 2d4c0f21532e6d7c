package jobstore

import (
	"context"
	"encoding/json"
	"time"
)

// KindInfo is a kind as consumers have registered it, with what operators say of it.
type KindInfo struct {
	Kind        string `json:"kind"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Scope       string `json:"scope,omitempty"`
	// Version is that of the program whose words these are: the newest that has registered the kind.
	Version string `json:"version,omitempty"`
	// Schema is the JSON Schema of its args; nil = unknown.
	Schema      json.RawMessage `json:"schema,omitempty"`
	Queue       string          `json:"queue,omitempty"`
	Priority    int             `json:"priority"`
	MaxAttempts int             `json:"max_attempts"`
	Timeout     time.Duration   `json:"-"`
	// Defaults are its settings as the program has them, SettingsSchema what they may be, and Settings those
	// that operators have set; nil = none.
	Defaults       json.RawMessage `json:"defaults,omitempty"`
	SettingsSchema json.RawMessage `json:"settings_schema,omitempty"`
	Settings       json.RawMessage `json:"settings,omitempty"`
	Hidden         bool            `json:"hidden"`
	Position       int             `json:"position"`
	FirstSeen      time.Time       `json:"first_seen"`
	// LastSeen is the last heartbeat of a consumer that has it, or about when the last one started.
	LastSeen time.Time `json:"last_seen"`
	// Consumers are how many living ones have it; Hosts, Versions and Queues are theirs.
	Consumers int      `json:"consumers"`
	Hosts     []string `json:"hosts"`
	Versions  []string `json:"versions"`
	Queues    []string `json:"queues"`
	// DisabledAt says that it is disabled, and DisabledFor why.
	DisabledAt  *time.Time `json:"disabled_at,omitempty"`
	DisabledFor string     `json:"disabled_for,omitempty"`
}

// KindEdit changes how a kind is shown. What is nil stays as it is.
type KindEdit struct {
	Hidden   *bool
	Position *int
}

// KindSettings are what operators have set, by kind.
type KindSettings struct {
	// Edition grows with each edit of any kind: Orders brings it.
	Edition int64
	Kinds   map[string]json.RawMessage
}

// Kinds keeps what is known of kinds. Consumers register them with Configure.
type Kinds interface {
	// Kinds lists all that were registered, by position and name.
	Kinds(ctx context.Context) ([]KindInfo, error)
	// EditKind returns ErrNotFound for a kind that was never registered.
	EditKind(ctx context.Context, kind string, e KindEdit) error
	// PruneKinds removes kinds that no living consumer has, that have no job which may still run, that are not
	// disabled and that nobody has registered for unseen. It returns their names. A dry run removes nothing.
	PruneKinds(ctx context.Context, unseen time.Duration, dryRun bool) ([]string, error)
	// DisableKind keeps jobs of a kind from being claimed, until ResumeOf(PauseOfDisabled). Twice is once, with
	// the later reason.
	DisableKind(ctx context.Context, kind, reason string) error
	// KindSettings reads what was set for kinds.
	KindSettings(ctx context.Context, kinds []string) (KindSettings, error)
	// SetKindSettings replaces what was set for a kind, nil for nothing. ErrRefused when it is no longer was:
	// somebody else has edited it. ErrNotFound for a kind that was never registered.
	SetKindSettings(ctx context.Context, kind string, was, now json.RawMessage) error
}
