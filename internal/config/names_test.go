package config_test

import (
	"context"
	"strings"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// What is configured can be published, and what publishing refuses is refused here too, in the same words.
func TestNamesAreThoseOfPublish(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"a", "_a", "9", "mail.send", "a:b", "a-b", "a/b", "A_1", "-a", ".a", ":a", "/a", "a b", "a*", "a#", "a,b", "ä", "a\x00", "a\n",
		strings.Repeat("a", 100), strings.Repeat("a", 101), strings.Repeat("a", 128), strings.Repeat("a", 129), "",
	} {
		r := &warren.Registry{}
		r.Raw(name, func(context.Context, *jobstore.Job) error { return nil })
		_, err := warren.NewClient(warren.ClientConfig{Registry: r})
		sameComplaint(t, config.CheckKind(name), err, "kind ")
		if name == "" {
			continue // no queue is the default's
		}
		_, err = warren.NewClient(warren.ClientConfig{DefaultQueue: name})
		_, ours := config.Load(config.Sources{ReadFile: files{}.read, Flags: map[string]string{"default-queue": name}})
		sameComplaint(t, ours, err, "queue ")
	}
}

// sameComplaint compares what two errors have to say about a name, each among other things.
func sameComplaint(t *testing.T, ours, theirs error, begin string) {
	t.Helper()
	if got, want := about(ours, begin), about(theirs, begin); got != want {
		t.Errorf("the configuration says %q, publishing %q", got, want)
	}
}

func about(err error, begin string) string {
	if err == nil {
		return ""
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if at := strings.Index(line, begin+`"`); at >= 0 {
			return line[at:]
		}
	}
	return ""
}
