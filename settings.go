package warren

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/settings"
	"github.com/warrenq/warren/jobstore"
)

// Settings returns the settings of the kind whose handler or middleware calls it: KindOpts.Settings with what
// operators have set on top ('warren kinds settings KIND --set batch=200'). A change is there within one heartbeat, 5 s
// by default, for attempts that run too: ask again. It asks no database.
//
// T is the type of KindOpts.Settings. Another one is a mistake in the program: it panics, which fails the attempt.
func Settings[T any](ctx context.Context) T {
	cell, ok := ctx.Value(settingsKey{}).(*settingsCell)
	if !ok {
		panic(errNoSettings)
	}
	v, ok := cell.now.Load().(T)
	if !ok {
		panic(fmt.Errorf("the settings of kind %s are a %T, not a %T", cell.kind, cell.defaults, *new(T)))
	}
	return v
}

type settingsKey struct{}

// settingsCell holds the settings of one kind. They are replaced as a whole, never changed.
type settingsCell struct {
	kind     string
	defaults any
	text     json.RawMessage // of the defaults
	schema   json.RawMessage
	now      atomic.Value
}

// newSettings checks defaults, a struct or, for handlers without Go types, a json.RawMessage.
func newSettings(kind string, defaults any) (*settingsCell, error) {
	c := &settingsCell{kind: kind, defaults: defaults}
	var err error
	if c.schema, err = settings.Schema(defaults); err == nil {
		c.text, err = json.Marshal(defaults)
	}
	if err == nil && len(c.text) > settings.MaxBytes {
		err = fmt.Errorf("they have %d bytes; at most %d are allowed", len(c.text), settings.MaxBytes)
	}
	if err == nil {
		err = c.set(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return c, nil
}

// set lays what operators have set over the defaults. What does not fit changes nothing.
func (c *settingsCell) set(over json.RawMessage) error {
	merged, err := settings.Merge(c.text, over)
	if err != nil {
		return err
	}
	v := reflect.New(reflect.TypeOf(c.defaults))
	if err := json.Unmarshal(merged, v.Interface()); err != nil {
		return err
	}
	c.now.Store(v.Elem().Interface())
	return nil
}

// around gives a kind's handler its settings.
func (c *settingsCell) around(h RawHandler) RawHandler {
	if c == nil {
		return h
	}
	return func(ctx context.Context, job *jobstore.Job) error {
		return h(context.WithValue(ctx, settingsKey{}, c), job)
	}
}

// settingsReader keeps the settings of a consumer's kinds as they are in the database.
type settingsReader struct {
	store   ConsumerStore
	cells   map[string]*settingsCell
	kinds   []string
	edition atomic.Int64 // the one that was read
	log     *zap.Logger
}

func newSettingsReader(cfg *ConsumerConfig) *settingsReader {
	r := &settingsReader{store: cfg.Store, cells: map[string]*settingsCell{}, log: cfg.Log}
	for _, kind := range cfg.Registry.Kinds() {
		if cell := cfg.Registry.kinds[kind].settings; cell != nil {
			r.cells[kind], r.kinds = cell, append(r.kinds, kind)
		}
	}
	return r
}

// see reads the settings when a heartbeat has brought another edition. What fails is tried with the next one.
func (r *settingsReader) see(ctx context.Context, edition int64) {
	if len(r.kinds) == 0 || edition == r.edition.Load() {
		return
	}
	if err := r.read(ctx); err != nil {
		r.log.Warn("could not read the settings of kinds; trying again with the next heartbeat", zap.Error(err))
	}
}

func (r *settingsReader) read(ctx context.Context) error {
	if len(r.kinds) == 0 {
		return nil
	}
	set, err := r.store.KindSettings(ctx, r.kinds)
	if err != nil {
		return err
	}
	for kind, cell := range r.cells {
		if err := cell.set(set.Kinds[kind]); err != nil {
			// Written for another version of this program: its own are the last that fitted.
			r.log.Warn("the settings of a kind do not fit this program; it keeps those it has", zap.String("kind", kind), zap.Error(err))
		}
	}
	r.edition.Store(set.Edition)
	return nil
}
