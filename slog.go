package warren

import (
	"context"
	"log/slog"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Slog is Logger for programs that use log/slog.
func Slog(ctx context.Context) *slog.Logger { return slog.New(slogHandler{core: Logger(ctx).Core()}) }

// slogHandler writes to zap's core. A whole module would do the same, and be one more to trust.
type slogHandler struct {
	core   zapcore.Core
	groups []string // that were opened, and have no members yet: such are left out
}

// Enabled implements slog.Handler.
func (h slogHandler) Enabled(_ context.Context, l slog.Level) bool {
	return h.core.Enabled(zapLevel(l))
}

// Handle implements slog.Handler.
func (h slogHandler) Handle(_ context.Context, r slog.Record) error {
	entry := h.core.Check(zapcore.Entry{Level: zapLevel(r.Level), Time: r.Time, Message: r.Message}, nil)
	if entry == nil {
		return nil
	}
	var fields []zap.Field
	r.Attrs(func(a slog.Attr) bool {
		fields = appendField(fields, a)
		return true
	})
	entry.Write(h.grouped(fields)...)
	return nil
}

// WithAttrs implements slog.Handler.
func (h slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var fields []zap.Field
	for _, a := range attrs {
		fields = appendField(fields, a)
	}
	if len(fields) == 0 {
		return h
	}
	return slogHandler{core: h.core.With(h.grouped(fields))}
}

// WithGroup implements slog.Handler.
func (h slogHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return slogHandler{core: h.core, groups: append(slices.Clip(h.groups), name)}
}

// grouped puts fields into the groups that are open.
func (h slogHandler) grouped(fields []zap.Field) []zap.Field {
	if len(fields) == 0 {
		return nil
	}
	var all []zap.Field
	for _, name := range h.groups {
		all = append(all, zap.Namespace(name))
	}
	return append(all, fields...)
}

// appendField adds an attribute: an empty one says nothing, and a group without a name is its members.
func appendField(fields []zap.Field, a slog.Attr) []zap.Field {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return fields
	case v.Kind() != slog.KindGroup:
		return append(fields, zap.Any(a.Key, v.Any()))
	}
	var members []zap.Field
	for _, member := range v.Group() {
		members = appendField(members, member)
	}
	switch {
	case len(members) == 0:
		return fields
	case a.Key == "":
		return append(fields, members...)
	}
	return append(fields, zap.Dict(a.Key, members...))
}

func zapLevel(l slog.Level) zapcore.Level {
	switch {
	case l >= slog.LevelError:
		return zapcore.ErrorLevel
	case l >= slog.LevelWarn:
		return zapcore.WarnLevel
	case l >= slog.LevelInfo:
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}
