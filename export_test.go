package warren

import (
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// SlogOf is the handler behind Slog.
func SlogOf(core zapcore.Core) slog.Handler { return slogHandler{core: core} }

// What may be a name.
func CheckKind(s string) error  { return checkKind(s) }
func CheckQueue(s string) error { return checkQueue(s) }
