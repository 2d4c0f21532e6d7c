package warren

import (
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// SlogOf is the handler behind Slog.
func SlogOf(core zapcore.Core) slog.Handler { return slogHandler{core: core} }
