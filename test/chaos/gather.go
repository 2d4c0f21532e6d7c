package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/test/chaos/check"
)

// gather puts the history of a world together, from sources that do not know of each other.
func (w *world) gather(ctx context.Context, published []check.Publish) (*check.History, error) {
	h := &check.History{Published: published, QueueDepth: -1}
	conn, err := pgx.Connect(ctx, w.direct)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	rows, err := conn.Query(ctx, `SELECT id, coalesce(identifier, ''), state, coalesce(serial_group, ''), priority::int, outcome_lease, crashes FROM warren.jobs ORDER BY id`)
	if err != nil {
		return nil, err
	}
	if h.Rows, err = pgx.CollectRows(rows, pgx.RowToStructByPos[check.Row]); err != nil {
		return nil, err
	}
	rows, err = conn.Query(ctx, `SELECT seq, at, began, id, coalesce(old, ''), coalesce(new, ''), lease, crashes FROM chaos.audit ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	if h.Changes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[check.Change]); err != nil {
		return nil, err
	}
	if h.Runs, err = readLedger(w.ledger); err != nil {
		return nil, err
	}
	h.Processes = w.lifetimes()
	return h, nil
}

// lifetimes are the consumers' lives with their pauses: freezes, and stalls that they measured themselves.
func (w *world) lifetimes() []check.Process {
	stalls := map[int][]check.Span{}
	_ = eachLine(w.stalls, func(f []string) { // no file: no stalls
		if len(f) == 3 {
			pid, _ := strconv.Atoi(f[0])
			stalls[pid] = append(stalls[pid], check.Span{From: nanos(f[1]), To: nanos(f[2])})
		}
	})
	var lives []check.Process
	for _, p := range w.processes() {
		life := p.life()
		life.Pauses = append(life.Pauses, stalls[life.PID]...)
		lives = append(lives, life)
	}
	return lives
}

// readLedger reads the probe's lines. An execution is known by job and lease. No file: nothing ran.
func readLedger(path string) ([]check.Run, error) {
	type key struct{ id, lease int64 }
	open := map[key]int{}
	var runs []check.Run
	err := eachLine(path, func(f []string) {
		if len(f) < 7 {
			return
		}
		id, _ := strconv.ParseInt(f[0], 10, 64)
		lease, _ := strconv.ParseInt(f[2], 10, 64)
		pid, _ := strconv.Atoi(f[3])
		k := key{id, lease}
		i, running := open[k]
		switch {
		case f[4] == "start":
			run := check.Run{ID: id, Lease: lease, PID: pid, Start: nanos(f[5])}
			if group := strings.Join(f[6:], " "); group != "-" {
				run.Group = group
			}
			open[k] = len(runs)
			runs = append(runs, run)
		case running:
			runs[i].End = nanos(f[5])
		}
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return runs, err
}

func nanos(s string) time.Time {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Unix(0, n)
}

// eachLine gives the fields of each line of a file.
func eachLine(path string, each func(fields []string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		each(strings.Fields(lines.Text()))
	}
	return lines.Err()
}

// depths counts the messages of a world's queues, those of the poison queue apart.
func (w *world) depths() (jobs, poison int, err error) {
	conn, err := amqp.Dial(w.amqp[0])
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	for _, name := range append(w.queues(), w.prefix+".poison") {
		ch, err := conn.Channel()
		if err != nil {
			return 0, 0, err
		}
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		if err != nil {
			continue // it is not there, and has closed the channel
		}
		_ = ch.Close() // the connection's close is enough
		if name == w.prefix+".poison" {
			poison = q.Messages
		} else {
			jobs += q.Messages
		}
	}
	return jobs, poison, nil
}

// queues are the names of the broker's queues, one a band.
func (w *world) queues() []string {
	var names []string
	for _, p := range []int{10, 20, 30} {
		names = append(names, fmt.Sprintf("%s.default.p%03d", w.prefix, p))
	}
	return names
}

// settle waits until every job is final, and returns how long that took. Those that do not end within
// patience are the checker's business.
func (w *world) settle(ctx context.Context, patience time.Duration) time.Duration {
	began := time.Now()
	until(ctx, patience, func() bool {
		pause(ctx, 200*time.Millisecond)
		left, err := query[int](ctx, w, 5*time.Second, `SELECT (SELECT count(*) FROM warren.jobs_live)
			+ (SELECT count(*) FROM warren.job_flows WHERE ended_at IS NULL)`)
		return err == nil && left == 0
	})
	return time.Since(began)
}

// emptied waits until nothing is in the broker's queues, and returns what is.
func (w *world) emptied(ctx context.Context, patience time.Duration) (depth, poison int) {
	until(ctx, patience, func() bool {
		var err error
		depth, poison, err = w.depths()
		return err == nil && depth == 0
	})
	return depth, poison
}

// historyOf tells all that ledger and audit know of a job.
func historyOf(h *check.History, id int64) []string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, r := range h.Rows {
		if r.ID == id {
			lines = append(lines, line{text: fmt.Sprintf("row: %s %s group %q priority %d outcome of lease %d, %d crashes", r.Tag, r.State, r.Group, r.Priority, r.OutcomeLease, r.Crashes)})
		}
	}
	for _, c := range h.Changes {
		if c.ID == id {
			lines = append(lines, line{c.At, fmt.Sprintf("audit %d: %q -> %q lease %d crashes %d", c.Seq, c.Old, c.New, c.Lease, c.Crashes)})
		}
	}
	for _, r := range h.Runs {
		if r.ID == id {
			lines = append(lines, line{r.Start, fmt.Sprintf("ledger: lease %d started in process %d", r.Lease, r.PID)})
			if !r.End.IsZero() {
				lines = append(lines, line{r.End, fmt.Sprintf("ledger: lease %d ended in process %d", r.Lease, r.PID)})
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = l.text
		if !l.at.IsZero() {
			out[i] = l.at.Format("15:04:05.000 ") + l.text
		}
	}
	return out
}
