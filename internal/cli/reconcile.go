package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

func reconcileCmd(env *Env) *cobra.Command {
	var fix bool
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Compare rows and hints, number by number, and mend what does not fit",
		Long: `Compare the rows of jobs with each other and with the hints in the broker, and name every job where
they do not fit. Exit code 0 when nothing is wrong, or everything was mended; 5 when something is.

  row-without-hint             it could be claimed, and no message has its number
  hint-without-row             a message has a number that is no READY job of its band (any more)
  duplicate-hint               a number is in a queue more than once
  processing-without-consumer  its consumer is not registered, or its registration has expired
  group-without-member         a serial group is kept by a job that does not run
  member-without-group         a running job does not keep its serial group
  key-without-job              a unique key is kept by a job that has ended, or does not exist
  outbox-overdue               its announcement has been due for more than 10 s
  due-not-ready                its time came more than 10 s ago, and it is not READY

Consumers mend most of this themselves, sooner or later; --fix does it now, and what only a person
or a bug can have caused: it announces what lacks a hint, removes hints in vain and duplicates,
hands back what dead consumers held, and mends groups and keys.

Everything is looked at twice, 2 s apart, and counts when both looks agree, so that jobs may flow
meanwhile. To read a queue, all of its messages are taken and given back, each in its place:
consumers of that queue wait so long, and a second more where a hint seems to be missing. What
consumers have at hand at that moment is claimed, or comes back, within that second. Of a quorum
queue's delivery limit, where one is set, each look uses one. Queues are those of configured bands,
of living consumers and of due jobs. Paused queues need no hints: resume makes them anew. Without a
broker only rows are compared.`,
		Example: `  warren reconcile -o json
  warren reconcile --fix`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return env.reconcile(cmd, fix) },
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "mend what is found")
	addOutputFlag(cmd)
	return cmd
}

func (e *Env) reconcile(cmd *cobra.Command, fix bool) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	list, failed := a.Reconcile(cmd.Context(), fix)
	header := []string{"PROBLEM", "QUEUE", "PRIORITY", "COUNT", "FIXED", "JOBS"}
	printed := printList(e.Stdout, out, list, header, func(d app.Discrepancy) []string {
		queue, priority := "-", "-"
		if d.Priority != nil {
			queue, priority = d.Queue, strconv.Itoa(*d.Priority)
		}
		return []string{d.Problem, queue, priority, strconv.Itoa(d.Count), strconv.Itoa(d.Fixed), someIDs(d.IDs)}
	})
	if err := errors.Join(asUsage(failed), printed); err != nil {
		return err
	}
	count, left := 0, 0
	for _, d := range list {
		count += d.Count
		left += d.Count - d.Fixed
	}
	switch {
	case left == 0:
		return nil
	case fix:
		return &codeError{code: exitThreshold, err: fmt.Errorf("%d of %d could not be mended now; try again", left, count)}
	}
	return &codeError{code: exitThreshold, err: fmt.Errorf("%d do not fit; 'warren reconcile --fix' mends them", left)}
}

// someIDs is the beginning of a list: a table is for people.
func someIDs(ids []jobstore.ID) string {
	const most = 10
	words := make([]string, 0, most+1)
	for _, id := range ids[:min(most, len(ids))] {
		words = append(words, strconv.FormatInt(int64(id), 10))
	}
	if len(ids) > most {
		words = append(words, fmt.Sprintf("and %d more", len(ids)-most))
	}
	return strings.Join(words, " ")
}
