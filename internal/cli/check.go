package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// bandCheck is a band as check reports it.
type bandCheck struct {
	Queue    string   `json:"queue"`
	Priority int      `json:"priority"`
	Due      int      `json:"due"`
	Oldest   float64  `json:"oldest_seconds"`
	Paused   bool     `json:"paused"`
	Exceeded []string `json:"exceeded"`

	oldest time.Duration
}

func checkCmd(env *Env) *cobra.Command {
	var backlog int
	var age durationFlag
	var queues []string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Fail when too much waits, for monitoring",
		Long: `Fail with exit code 5 when more than --max-backlog jobs are due in one queue at one priority, or
when one of them has been due for longer than --max-age. Jobs that are due but not started count,
those of paused queues too; jobs that are scheduled for later do not.`,
		Example: `  warren check --max-backlog 1000 --max-age 5m`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			typed := cmd.Flags().Changed
			switch {
			case !typed("max-backlog") && !typed("max-age"):
				return usagef("nothing to check is given: use --max-backlog, --max-age or both")
			case backlog < 0:
				return usagef("--max-backlog %d is negative", backlog)
			}
			limits := checkLimits{backlog: -1, age: -1, queues: queues}
			if typed("max-backlog") {
				limits.backlog = backlog
			}
			if typed("max-age") {
				limits.age = time.Duration(age)
			}
			return env.check(cmd, limits)
		},
	}
	cmd.Flags().IntVar(&backlog, "max-backlog", 0, "most jobs that may be due in one queue at one priority")
	cmd.Flags().Var(&age, "max-age", "longest that a job may be due without being started")
	cmd.Flags().StringArrayVar(&queues, "queue", nil, "look at this queue only; may be repeated")
	addOutputFlag(cmd)
	return cmd
}

// checkLimits are what check was given; -1 = no limit.
type checkLimits struct {
	backlog int
	age     time.Duration
	queues  []string
}

func (e *Env) check(cmd *cobra.Command, limits checkLimits) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	list, err := a.Store.Backlog(cmd.Context())
	if err != nil {
		return err
	}
	bands, complaints := limits.look(list)
	header := []string{"QUEUE", "PRIORITY", "DUE", "OLDEST", "EXCEEDED"}
	err = printList(e.Stdout, out, bands, header, func(b bandCheck) []string {
		return []string{b.Queue, strconv.Itoa(b.Priority), strconv.Itoa(b.Due), ageText(b.oldest), strings.Join(b.Exceeded, ", ")}
	})
	if err != nil || len(complaints) == 0 {
		return err
	}
	return &codeError{code: exitThreshold, err: errors.New(strings.Join(complaints, "\n"))}
}

// look compares each band with the limits, and words what is exceeded and by how much.
func (l *checkLimits) look(list []jobstore.Backlog) (bands []bandCheck, complaints []string) {
	for _, b := range list {
		if len(l.queues) > 0 && !slices.Contains(l.queues, b.Queue) {
			continue
		}
		c := bandCheck{
			Queue: b.Queue, Priority: b.Priority, Due: b.Due, Oldest: b.Oldest.Seconds(), Paused: b.Paused,
			Exceeded: []string{}, oldest: b.Oldest,
		}
		where := fmt.Sprintf("queue %s, priority %d", b.Queue, b.Priority)
		if b.Paused {
			where += " (paused)"
		}
		if l.backlog >= 0 && b.Due > l.backlog {
			c.Exceeded = append(c.Exceeded, "backlog")
			complaints = append(complaints, fmt.Sprintf("%s: %s due, %d more than --max-backlog %d", where, count(b.Due), b.Due-l.backlog, l.backlog))
		}
		if l.age >= 0 && b.Oldest > l.age {
			c.Exceeded = append(c.Exceeded, "age")
			complaints = append(complaints, fmt.Sprintf("%s: the oldest job has been due for %s, %s longer than --max-age %s",
				where, ageText(b.Oldest), ageText(b.Oldest-l.age), config.FormatDuration(l.age)))
		}
		bands = append(bands, c)
	}
	return bands, complaints
}

// ageText is a duration without the digits that nobody reads.
func ageText(d time.Duration) string {
	if d >= time.Second {
		return config.FormatDuration(d.Truncate(time.Second))
	}
	return config.FormatDuration(d.Round(time.Millisecond))
}
