package probe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/probe"
	"github.com/warrenq/warren/jobstore"
)

func TestMain(m *testing.M) {
	// The goroutine of TestHangIgnoresItsContext is lost, which is what it tests.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/warrenq/warren/handlers/probe.(*args).hang"))
}

func handler(tb testing.TB) warren.RawHandler {
	tb.Helper()
	h, err := probe.New(probe.Config{})
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return h
}

func job(args string, attempt int) *jobstore.Job {
	return &jobstore.Job{ID: 42, Kind: "probe", Args: json.RawMessage(args), Attempts: attempt, LeaseNo: 7}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args    string
		attempt int
		want    error // nil, or an error of the same text and type
	}{
		"no args":           {args: ``, attempt: 1},
		"null":              {args: `null`, attempt: 1},
		"nothing asked":     {args: `{}`, attempt: 1},
		"ok":                {args: `{"outcome":"ok"}`, attempt: 1},
		"empty outcome":     {args: `{"outcome":""}`, attempt: 1},
		"a sleep":           {args: `{"sleep":"1ms"}`, attempt: 1},
		"temporary":         {args: `{"outcome":"temporary"}`, attempt: 3, want: errors.New("probe was told to fail for now")},
		"temporary, text":   {args: `{"outcome":"temporary","message":"no luck"}`, attempt: 1, want: errors.New("no luck")},
		"permanent":         {args: `{"outcome":"permanent","message":"gone"}`, attempt: 1, want: warren.Permanent(errors.New("gone"))},
		"wait":              {args: `{"outcome":"wait"}`, attempt: 1, want: warren.Wait(time.Minute, errors.New("probe was told to wait"))},
		"wait, how long":    {args: `{"outcome":"wait","wait":"3s","message":"busy"}`, attempt: 1, want: warren.Wait(3*time.Second, errors.New("busy"))},
		"skip":              {args: `{"outcome":"skip","message":"not needed"}`, attempt: 1, want: warren.Skip("not needed")},
		"stop is bare":      {args: `{"outcome":"stop","message":"ignored"}`, attempt: 1, want: warren.StopConsumer(nil)},
		"fails twice, 1":    {args: `{"fail_times":2}`, attempt: 1, want: errors.New("probe was told to fail 2 times, this is attempt 1")},
		"fails twice, 2":    {args: `{"fail_times":2,"outcome":"ok","message":"no"}`, attempt: 2, want: errors.New("no")},
		"fails twice, 3":    {args: `{"fail_times":2,"outcome":"ok"}`, attempt: 3},
		"outcome goes over": {args: `{"fail_times":2,"outcome":"skip","message":"s"}`, attempt: 1, want: warren.Skip("s")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := handler(t)(t.Context(), job(tc.args, tc.attempt))
			if fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", tc.want, tc.want) && !sameText(got, tc.want) {
				t.Errorf("args %s, attempt %d: got %T %v, want %T %v", tc.args, tc.attempt, got, got, tc.want, tc.want)
			}
		})
	}
}

// sameText tells plain errors apart by their text only: their types are nobody's business.
func sameText(a, b error) bool {
	return a != nil && b != nil && errors.Unwrap(a) == nil && errors.Unwrap(b) == nil && a.Error() == b.Error()
}

func TestBadArgsFailForGoodAndNameTheField(t *testing.T) {
	t.Parallel()
	permanent := regexp.MustCompile(`^permanent: probe's args`)
	for args, want := range map[string]string{
		`[]`:                      `must be a JSON object`,
		`{"sleep":`:               `must be a JSON object`,
		`{"steps":1001}`:          `field "steps": 1001 is not a whole number from 0 to 1000`,
		`{"slep":"1s"}`:           `unknown field "slep"; it knows append, fail_times, message, outcome, sleep, steps, wait`,
		`{"Sleep":"1s"}`:          `unknown field "Sleep"`,
		`{"sleep":"soon"}`:        `field "sleep": "soon" is not a duration such as "10ms"`,
		`{"sleep":10}`:            `field "sleep": 10 is not a duration`,
		`{"sleep":"-1s"}`:         `field "sleep": -1s is negative`,
		`{"wait":"1 hour"}`:       `field "wait": "1 hour" is not a duration`,
		`{"fail_times":-1}`:       `field "fail_times": -1 is not a whole number from 0 up`,
		`{"fail_times":1.5}`:      `field "fail_times": 1.5 is not`,
		`{"fail_times":"2"}`:      `field "fail_times": "2" is not`,
		`{"outcome":"explode"}`:   `field "outcome": "explode" is none of ok, temporary,`,
		`{"outcome":1}`:           `field "outcome": 1 is not a string`,
		`{"message":{}}`:          `field "message": {} is not a string`,
		`{"append":["/dev/null"]`: `must be a JSON object`,
		`{"append":7}`:            `field "append": 7 is not a string`,
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			err := handler(t)(t.Context(), job(args, 1))
			if err == nil || !permanent.MatchString(err.Error()) || !strings.Contains(err.Error(), want) {
				t.Errorf("args %s: got %v, want a permanent error with %q", args, err, want)
			}
		})
	}
}

func TestPanicsWithTheMessageAfterItsEndLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ledger")
	defer func() {
		if got := recover(); got != "at the disco" {
			t.Errorf("recovered %v, want the message", got)
		}
		if got := events(readLedger(t, file)); got != "start end" {
			t.Errorf("ledger has %q, want start and end", got)
		}
	}()
	err := handler(t)(t.Context(), job(`{"outcome":"panic","message":"at the disco","append":`+strconv.Quote(file)+`}`, 1))
	t.Errorf("returned %v instead of a panic", err)
}

func TestSleepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ledger")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(warren.ErrLeaseLost)
	err := handler(t)(ctx, job(`{"sleep":"1h","append":`+strconv.Quote(file)+`}`, 1))
	if !errors.Is(err, warren.ErrLeaseLost) {
		t.Errorf("got %v, want the context's cause", err)
	}
	if got := events(readLedger(t, file)); got != "start end" {
		t.Errorf("ledger has %q, want the end of a cancelled sleep too", got)
	}
}

// TestHangIgnoresItsContext proves "for ever" by what the goroutine is blocked on: a select
// without cases has no way out.
func TestHangIgnoresItsContext(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ledger")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h, name := handler(t), make(chan string, 1)
	go func() {
		// "goroutine 17", which tells it from those of other runs of this test.
		self := make([]byte, 64)
		self = self[:runtime.Stack(self, false)]
		name <- string(self[:bytes.IndexByte(self, '[')])
		err := h(ctx, job(`{"outcome":"hang","append":`+strconv.Quote(file)+`}`, 1))
		panic(fmt.Sprintf("hang returned %v", err))
	}()
	for self := <-name; !strings.Contains(stacks(), self+"[select (no cases)"); {
		select {
		case <-t.Context().Done():
			t.Fatal("hang never came to rest")
		case <-time.After(time.Millisecond):
		}
	}
	if got := events(readLedger(t, file)); got != "start" {
		t.Errorf("ledger has %q, want no end", got)
	}
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func TestLedgerLine(t *testing.T) {
	t.Parallel()
	for group, want := range map[string]string{
		"":             "-",
		"invoice 7":    "invoice 7",
		"a\n1 1 1 1":   "a?1 1 1 1",
		"tab\tnul\x00": "tab?nul?",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "ledger")
			j := job(`{"outcome":"permanent","append":`+strconv.Quote(file)+`}`, 3)
			j.SerialGroup = group
			before := time.Now().UnixNano()
			if err := handler(t)(t.Context(), j); err == nil {
				t.Error("want the permanent error")
			}
			lines := readLedger(t, file)
			if got := events(lines); got != "start end" {
				t.Fatalf("ledger has %q, want start and end", got)
			}
			for i, l := range lines {
				at, _ := strconv.ParseInt(l[5], 10, 64)
				l[5] = "T"
				line := strings.Join(l, " ")
				if expect := fmt.Sprintf("42 3 7 %d %s T %s", os.Getpid(), []string{"start", "end"}[i], want); line != expect {
					t.Errorf("line %d is %q, want %q", i, line, expect)
				}
				if at < before || at > time.Now().UnixNano() {
					t.Errorf("line %d has the time %d, want one between the call and now", i, at)
				}
			}
		})
	}
}

func TestLedgerIsSharedWithoutMixingLines(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ledger")
	h := handler(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := h(t.Context(), job(`{"append":`+strconv.Quote(file)+`}`, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(readLedger(t, file)); got != 8*50*2 {
		t.Errorf("ledger has %d whole lines, want %d", got, 8*50*2)
	}
}

func TestALedgerThatCannotBeWrittenIsATemporaryFailure(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "missing", "ledger")
	err := handler(t)(t.Context(), job(`{"append":`+strconv.Quote(file)+`}`, 1))
	if !errors.Is(err, os.ErrNotExist) || strings.HasPrefix(err.Error(), "permanent") {
		t.Errorf("got %v, want a temporary error that says the folder is missing", err)
	}
}

//nolint:paralleltest // AllocsPerRun counts for the whole process and refuses to run in parallel
func TestANoOpAllocatesNothing(t *testing.T) {
	h, j := handler(t), job(`{}`, 1)
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() { _ = h(ctx, j) }); got != 0 {
		t.Errorf("%v allocations for a job that does nothing, want 0", got)
	}
}

func BenchmarkNoOp(b *testing.B) {
	h, j := handler(b), job(`{}`, 1)
	for b.Loop() {
		_ = h(b.Context(), j)
	}
}

func BenchmarkLedger(b *testing.B) {
	h, j := handler(b), job(`{"append":`+strconv.Quote(filepath.Join(b.TempDir(), "ledger"))+`}`, 1)
	for b.Loop() {
		_ = h(b.Context(), j)
	}
}

// readLedger returns the fields of each line, and fails on one that is not whole.
func readLedger(t *testing.T, file string) [][]string {
	t.Helper()
	b, err := fs.ReadFile(os.DirFS(filepath.Dir(file)), filepath.Base(file))
	if err != nil {
		t.Fatalf("read the ledger: %v", err)
	}
	whole := regexp.MustCompile(`^\d+ \d+ \d+ \d+ (start|end) \d+ .+$`)
	var lines [][]string
	for line := range strings.Lines(string(b)) {
		line, ended := strings.CutSuffix(line, "\n")
		if !ended || !whole.MatchString(line) {
			t.Errorf("ledger line %q is not whole", line)
			continue
		}
		lines = append(lines, strings.SplitN(line, " ", 7))
	}
	return lines
}

func events(lines [][]string) string {
	names := make([]string, 0, len(lines))
	for _, l := range lines {
		names = append(names, l[4])
	}
	return strings.Join(names, " ")
}
