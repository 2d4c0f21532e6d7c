package docs

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
)

// What docs/http.md has people type does what it says, in this order.
func TestHTTPPage(t *testing.T) {
	t.Parallel()
	testenv.Program(t, "curl", "curl")
	dsn, addr := testenv.Postgres(t), testenv.Addr(t)
	all := blocks(t, "../../docs/http.md")
	script := strings.Join(typed(t, one(t, all, "Try it", "console")), "\n")
	for old, own := range map[string]string{"postgres://app:secret@127.0.0.1:5432/app": "'" + dsn + "'", "127.0.0.1:8080": addr} {
		if !strings.Contains(script, old) {
			t.Fatalf("the page does not say %s", old)
		}
		script = strings.ReplaceAll(script, old, own)
	}
	// Prompts of a person's shell have job control; and what curl prints stands on lines of its own.
	out := run(t, checkout(t), []string{"AMQP_URL=none"}, "bash", "-meuo", "pipefail", "-c", script)
	if n := count(t, dsn, "SELECT count(*) FROM warren.jobs"); n != 2 {
		t.Errorf("%d jobs are left, want the two of order 17\n%s", n, out)
	}
	if n := count(t, dsn, "SELECT count(*) FROM warren.job_requests"); n != 1 {
		t.Errorf("%d keys are remembered, want 1", n)
	}
	for _, want := range []string{`"state":"READY"`, `"verdict":`, `"priority":50`, `event: state`, `"state":"CANCELLED"`, `"total":`} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing printed %s:\n%s", want, out)
		}
	}
	problem := strings.TrimSpace(one(t, all, "Try it", "json"))
	if !json.Valid([]byte(problem)) || !strings.Contains(out, problem) {
		t.Errorf("no answer is the problem that the page shows:\n%s", out)
	}
}
