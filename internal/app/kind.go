package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/warrenq/warren/argschema"
	"github.com/warrenq/warren/internal/settings"
	"github.com/warrenq/warren/jobstore"
)

// Kind finds a registered kind. jobstore.ErrNotFound names what there is instead.
func (a *App) Kind(ctx context.Context, name string) (jobstore.KindInfo, error) {
	list, err := a.Store.Kinds(ctx)
	if err != nil {
		return jobstore.KindInfo{}, err
	}
	for _, k := range list {
		if k.Kind == name {
			return k, nil
		}
	}
	return jobstore.KindInfo{}, fmt.Errorf("kind %.140q was never registered: %w; a consumer that has it does so when it starts", name, jobstore.ErrNotFound)
}

// SyncKinds registers the kinds of the configuration, as a consumer does when it starts, and tells which were new.
func (a *App) SyncKinds(ctx context.Context) (fresh []string, err error) {
	before, err := a.Store.Kinds(ctx)
	if err != nil {
		return nil, err
	}
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	if err := a.Store.Configure(ctx, s); err != nil {
		return nil, err
	}
	for _, k := range s.Kinds {
		if !slices.ContainsFunc(before, func(b jobstore.KindInfo) bool { return b.Kind == k.Kind }) {
			fresh = append(fresh, k.Kind)
		}
	}
	return fresh, nil
}

// EditSettings sets keys of a kind's settings, each as key=value, and takes others away, which brings the program's
// own values back. The result is checked as a whole before it is stored. ErrUsage when it is not possible.
func (a *App) EditSettings(ctx context.Context, kind string, set, unset []string) error {
	k, err := a.Kind(ctx, kind)
	if err != nil {
		return err
	}
	if k.Defaults == nil {
		return usageError{fmt.Errorf("kind %s has no settings: its program declares none", kind)}
	}
	var schema *argschema.Schema
	if k.SettingsSchema != nil {
		if schema, err = argschema.Compile(k.SettingsSchema); err != nil {
			return fmt.Errorf("settings of kind %s: %w", kind, err)
		}
	}
	now := k.Settings
	for _, path := range unset {
		if now, err = settings.Set(now, path, nil); err != nil {
			return usageError{err}
		}
	}
	for _, text := range set {
		path, value, ok := strings.Cut(text, "=")
		if !ok {
			return usageError{fmt.Errorf("--set %.140q has no value; write key=value, such as batch=100", text)}
		}
		if now, err = setOne(k.Defaults, now, path, value, schema); err != nil {
			return usageError{fmt.Errorf("kind %s: %w", kind, err)}
		}
	}
	return a.Store.SetKindSettings(ctx, kind, k.Settings, now)
}

// setOne takes a value for the JSON that it is, or else, where that does not fit, for a text.
func setOne(defaults, set json.RawMessage, path, value string, schema *argschema.Schema) (json.RawMessage, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("the value of %s: %w", path, err)
	}
	tries := []json.RawMessage{text}
	if json.Valid([]byte(value)) {
		tries = []json.RawMessage{json.RawMessage(value), text}
	}
	var failed []error
	for _, try := range tries {
		next, err := settings.Set(set, path, try)
		if err == nil {
			err = checkSettings(defaults, next, schema)
		}
		if err == nil {
			return next, nil
		}
		failed = append(failed, err)
	}
	return nil, fmt.Errorf("%s=%.100s: %w", path, value, failed[0])
}

func checkSettings(defaults, set json.RawMessage, schema *argschema.Schema) error {
	all, err := settings.Merge(defaults, set)
	if err != nil || schema == nil {
		return err
	}
	return schema.CheckArgs(all)
}
