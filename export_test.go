package warren

import (
	"encoding/json"
	"log/slog"

	"go.uber.org/zap/zapcore"

	"github.com/warrenq/warren/jobstore"
)

// SlogOf is the handler behind Slog.
func SlogOf(core zapcore.Core) slog.Handler { return slogHandler{core: core} }

// What may be a name.
func CheckKind(s string) error  { return checkKind(s) }
func CheckQueue(s string) error { return checkQueue(s) }

// StillUnstarted is what the metadata of a job say when it is handed back unstarted.
func StillUnstarted(job *jobstore.Job) json.RawMessage { return stillUnstarted(job) }
