package jobstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Where warnings and failures begin. Everything but ok says what to do.
func TestFindings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		got    jobstore.Finding
		status string
		value  string
	}{
		{jobstore.ClockFinding(time.Second), jobstore.StatusOK, "1s"},
		{jobstore.ClockFinding(-time.Second - time.Millisecond), jobstore.StatusWarn, "1.001s"},
		{jobstore.ClockFinding(time.Hour), jobstore.StatusWarn, "1h0m0s"},
		{jobstore.OutboxFinding(0, 0), jobstore.StatusOK, "empty"},
		{jobstore.OutboxFinding(3, 9*time.Second), jobstore.StatusOK, "3 jobs"},
		{jobstore.OutboxFinding(3, 10*time.Second), jobstore.StatusWarn, "10s"},
		{jobstore.OutboxFinding(3, time.Minute), jobstore.StatusFail, "1m0s"},
		{jobstore.BacklogFinding(0, 0), jobstore.StatusOK, "none"},
		{jobstore.BacklogFinding(2, 5*time.Minute), jobstore.StatusOK, "2 jobs"},
		{jobstore.BacklogFinding(2, 6*time.Minute), jobstore.StatusWarn, "6m0s"},
	} {
		if c.got.Status != c.status || !strings.Contains(c.got.Value, c.value) || (c.status == jobstore.StatusOK) != (c.got.Remedy == "") {
			t.Errorf("%+v: want %s with %q", c.got, c.status, c.value)
		}
	}
}
