package warren_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"testing/slogtest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/warrentest"
)

// Slog keeps to what slog asks of a handler.
func TestSlog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	keys := zapcore.EncoderConfig{
		TimeKey: slog.TimeKey, LevelKey: slog.LevelKey, MessageKey: slog.MessageKey, EncodeTime: zapcore.RFC3339TimeEncoder, EncodeLevel: zapcore.CapitalLevelEncoder,
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(keys), zapcore.AddSync(&out), zap.InfoLevel)
	err := slogtest.TestHandler(warren.SlogOf(core), func() (results []map[string]any) {
		for dec := json.NewDecoder(&out); dec.More(); {
			var line map[string]any
			if err := dec.Decode(&line); err != nil {
				t.Fatal(err)
			}
			results = append(results, line)
		}
		return results
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSlogOfAJob(t *testing.T) {
	t.Parallel()
	got := warrentest.PerformFunc(t, func(ctx context.Context, _ *warren.Job[mail]) error {
		log := warren.Slog(ctx)
		log.DebugContext(ctx, "below")
		log.With("a", 1).WithGroup("g").ErrorContext(ctx, "failed", "b", "ünï", slog.Group("h", "c", true))
		return nil
	}, mail{})
	if len(got.Log) != 1 || got.Log[0].Level != "error" || string(got.Log[0].Fields) != `{"a":1,"g":{"b":"ünï","h":{"c":true}}}` {
		t.Errorf("logged %+v", got.Log)
	}
}
