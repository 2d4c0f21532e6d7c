package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Producer is the command tree of the program that publishes.
func Producer(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "producer",
		Short: "Publish background jobs",
		Long: `Publish background jobs.

A job is a row in the database; it exists once this program has printed its number.
DATABASE_URL names the database, AMQP_URL the broker (unset or "none" = no broker).`,
		Version: Version(),
	}
	addConfigFlags(root)
	return group(root, publishCmd(env), importCmd(env), serveCmd(env))
}

// announceWait is how long a producer waits for the broker before it leaves the announcing to the
// consumers' sweep.
const announceWait = 2 * time.Second

type publishFlags struct {
	args, argsFile, queue, group, identifier, mode, at, by, metadata, uniqueFor, replace string
	priority, maxAttempts                                                                int
	coalesce                                                                             int64
	every, delay, timeout, debounce, maxWait, expireAfter                                durationFlag
	now                                                                                  bool
	tags, uniqueBy                                                                       []string
}

func publishCmd(env *Env) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish KIND",
		Short: "Publish one job and print its number",
		Example: `  producer publish mail --args '{"to":"a@example.com"}' --priority 10
  producer publish resize --args-file job.json --serial-group album-7 --delay 30s`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return env.publish(cmd, args[0], &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.args, "args", "", "the job's args, a JSON value (default {})")
	fl.StringVar(&f.argsFile, "args-file", "", "read the args from a file; - is standard input")
	fl.StringVar(&f.queue, "queue", "", "queue (default: the kind's, else the configured default)")
	fl.IntVar(&f.priority, "priority", 0, "one of the configured priorities; lower runs first (default: the kind's, else the first)")
	fl.StringVar(&f.group, "serial-group", "", "at most one job of a group runs at a time, in (priority, id) order")
	fl.StringVar(&f.identifier, "identifier", "", "a name to ask for later")
	fl.StringVar(&f.mode, "mode", "", "normal, unique or recurring (default: normal, or what the kind says)")
	fl.Var(&f.every, "every", "with --mode recurring: time from the end of one job to the start of the next")
	fl.Var(&f.delay, "delay", "start this long from now (default: the kind's)")
	fl.BoolVar(&f.now, "now", false, "start at once, although the kind has a delay")
	fl.StringVar(&f.at, "at", "", "start at this time, as RFC 3339: 2026-11-21T20:00:00Z")
	fl.Int64Var(&f.coalesce, "coalesce", 0, "when the job starts, waiting members of its group with at least this threshold become REDUNDANT")
	fl.IntVar(&f.maxAttempts, "max-attempts", 25, "attempts before the job fails for good; 0 = no limit (default: the kind's)")
	fl.Var(&f.timeout, "timeout", "how long one attempt may take (default: the kind's)")
	fl.StringVar(&f.by, "by", "", "for whom: created_by of its metadata, to select by")
	fl.StringVar(&f.metadata, "metadata", "", "a JSON object kept with the row")
	fl.StringArrayVar(&f.tags, "tag", nil, "a tag; may be repeated")
	fl.StringVar(&f.uniqueFor, "unique-for", "", "with --mode unique: keep the key for a duration, until-start, or forever (default: until the job has ended)")
	fl.StringSliceVar(&f.uniqueBy, "unique-by", nil, "fields of the args that make the identifier of a unique job; * = all of them")
	fl.StringVar(&f.replace, "replace", "", "with --mode unique: what a waiting job with this key takes over: args, priority, time, or all")
	fl.Var(&f.debounce, "debounce", "a delay that begins anew with each publish of the same key, for one job")
	fl.Var(&f.expireAfter, "expire-after", "call the job off when it has not started so long after it was due")
	fl.Var(&f.maxWait, "max-wait", "with --debounce: start this long after the first publish at the latest")
	addOutputFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("args", "args-file")
	cmd.MarkFlagsMutuallyExclusive("delay", "at", "now")
	return cmd
}

func (e *Env) publish(cmd *cobra.Command, kind string, f *publishFlags) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	args, opts, err := e.publishOpts(cmd, f)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "producer")
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Publishing(cmd.Context(), announceWait, func(ctx context.Context, client *warren.Client) error {
		done, err := client.PublishRaw(ctx, kind, args, opts)
		if err != nil {
			return publishError(err)
		}
		if out == formatTable {
			_, err := fmt.Fprintln(e.Stdout, done.ID)
			return err
		}
		job, err := a.Store.Get(ctx, done.ID)
		if err != nil {
			return fmt.Errorf("job %d is published, but cannot be shown: %w", done.ID, err)
		}
		if out == formatLines {
			return json.NewEncoder(e.Stdout).Encode(&job)
		}
		return printJSON(e.Stdout, &job)
	})
}

// publishError tells what a person typed wrong from what went wrong.
func publishError(err error) error {
	if errors.Is(err, jobstore.ErrInvalid) || errors.Is(err, warren.ErrInvalidJob) {
		return usage(err)
	}
	return err
}

func (e *Env) publishOpts(cmd *cobra.Command, f *publishFlags) (json.RawMessage, warren.PublishOpts, error) {
	o := warren.PublishOpts{
		Queue: f.queue, SerialGroup: f.group, Identifier: f.identifier, Mode: jobstore.Mode(f.mode),
		Every: time.Duration(f.every), Delay: time.Duration(f.delay), Timeout: time.Duration(f.timeout), Tags: f.tags,
		By: f.by, Now: f.now, UniqueBy: f.uniqueBy, Debounce: time.Duration(f.debounce), MaxWait: time.Duration(f.maxWait), ExpireAfter: time.Duration(f.expireAfter),
	}
	if err := f.keyOpts(&o); err != nil {
		return nil, o, err
	}
	typed := cmd.Flags().Changed
	if typed("priority") {
		o.Priority = new(f.priority)
	}
	if typed("coalesce") {
		o.Coalesce = &f.coalesce
	}
	if typed("max-attempts") {
		if f.maxAttempts < 0 {
			return nil, o, usagef("max attempts %d is negative; 0 means no limit", f.maxAttempts)
		}
		o.MaxAttempts = unlimited(&f.maxAttempts)
	}
	if typed("at") {
		at, err := parseTime(f.at)
		if err != nil {
			return nil, o, err
		}
		o.At = at
	}
	if typed("metadata") {
		if !json.Valid([]byte(f.metadata)) {
			return nil, o, usagef("metadata %.80q is not valid JSON", f.metadata)
		}
		o.Metadata = json.RawMessage(f.metadata)
	}
	args, err := e.readArgs(cmd, f)
	return args, o, err
}

// keyOpts reads what is said about the key of a unique job.
func (f *publishFlags) keyOpts(o *warren.PublishOpts) (err error) {
	if f.uniqueFor != "" {
		if o.UniqueFor, err = warren.ParseUniqueFor(f.uniqueFor); err != nil {
			return usage(err)
		}
	}
	if f.replace != "" {
		if o.Replace, err = warren.ParseReplace(f.replace); err != nil {
			return usage(err)
		}
	}
	return nil
}

// unlimited translates "0 = no limit" of the command line.
func unlimited(n *int) int {
	if *n == 0 {
		return warren.Unlimited
	}
	return *n
}

// readArgs reads them once, whatever becomes of what they are for: standard input has nothing to say a second time. Args
// that were typed and are empty come of a program that failed or of an empty variable, and are no wish for {}.
func (e *Env) readArgs(cmd *cobra.Command, f *publishFlags) (args json.RawMessage, err error) {
	switch f.argsFile {
	case "":
		args = json.RawMessage(f.args)
	case "-":
		args, err = io.ReadAll(io.LimitReader(e.Stdin, maxLine))
	default:
		if args, err = os.ReadFile(f.argsFile); err != nil {
			err = usage(err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the args: %w", err)
	}
	args = bytes.TrimSpace(args)
	if typed := cmd.Flags().Changed; len(args) == 0 && (typed("args") || typed("args-file")) {
		return nil, usagef("the args are empty, which is not JSON; give {} for nothing")
	}
	return args, nil
}

// maxLine bounds one job read from a file: args are limited to far less.
const maxLine = 64 << 20

func importCmd(env *Env) *cobra.Command {
	var bulk int
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Publish jobs from a file of JSON lines",
		Long: `Publish jobs from a file of JSON lines; - is standard input.

Each line is an object whose keys are columns of the jobs table: kind (needed), args,
queue, priority, serial_group, identifier, mode, every, delay, available_at, coalesce,
max_attempts, timeout, metadata, tags, unique_for, unique_by, replace, debounce, max_wait,
now, expire_after. Jobs are written in batches; of a batch with a bad
line nothing is written, and the error names the line.`,
		Example: `  producer import jobs.jsonl
  generate-jobs | producer import - --bulk-size 500`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if bulk < 1 || bulk > 10_000 {
				return usagef("bulk size %d is not between 1 and 10000", bulk)
			}
			return env.importFile(cmd, args[0], bulk)
		},
	}
	cmd.Flags().IntVar(&bulk, "bulk-size", 1000, "jobs written in one transaction")
	addOutputFlag(cmd)
	return cmd
}

func (e *Env) importFile(cmd *cobra.Command, path string, bulk int) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	in, size, closeIn, err := e.openInput(path)
	if err != nil {
		return err
	}
	defer closeIn()
	a, err := e.open(cmd, "producer")
	if err != nil {
		return err
	}
	defer a.Close()
	progress := newProgress(e.Stderr, size)
	var imported int
	err = a.Publishing(cmd.Context(), announceWait, func(ctx context.Context, client *warren.Client) error {
		var err error
		imported, err = importLines(ctx, client, in, bulk, progress)
		return err
	})
	progress.done()
	if err != nil {
		return fmt.Errorf("%w (%d jobs were published before)", err, imported)
	}
	if out == formatTable {
		_, err = fmt.Fprintf(e.Stdout, "%d jobs published\n", imported)
		return err
	}
	return json.NewEncoder(e.Stdout).Encode(map[string]int{"published": imported})
}

func (e *Env) openInput(path string) (in io.Reader, size int64, closeIn func(), err error) {
	if path == "-" {
		return e.Stdin, 0, func() {}, nil
	}
	f, err := os.Open(path) //nolint:gosec // the file that the caller named on the command line
	if err != nil {
		return nil, 0, nil, usagef("cannot read the jobs: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		_ = f.Close() // nothing was written to it
		return nil, 0, nil, usagef("cannot read the jobs: %w", err)
	}
	return f, info.Size(), func() { _ = f.Close() }, nil // nothing was written to it
}

// importLines publishes the lines in batches and returns how many jobs are committed.
func importLines(ctx context.Context, client *warren.Client, in io.Reader, bulk int, progress *progress) (int, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var batch []warren.Item
	var numbers []int // the line of each item
	total, number := 0, 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if _, err := client.PublishMany(ctx, batch); err != nil {
			if item, ok := errors.AsType[*warren.ItemError](err); ok {
				return fmt.Errorf("line %d: %w", numbers[item.Index], item.Err)
			}
			return fmt.Errorf("lines %d to %d: %w", numbers[0], numbers[len(numbers)-1], err)
		}
		total += len(batch)
		batch, numbers = batch[:0], numbers[:0]
		return nil
	}
	for lines.Scan() {
		number++
		progress.add(len(lines.Bytes()) + 1)
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		item, err := warren.ParseItem(line)
		if err != nil {
			return total, fmt.Errorf("line %d: %w", number, err)
		}
		batch, numbers = append(batch, item), append(numbers, number)
		if len(batch) == bulk {
			if err := flush(); err != nil {
				return total, err
			}
			progress.jobs(total)
		}
	}
	if err := lines.Err(); err != nil {
		return total, fmt.Errorf("line %d: %w", number+1, err)
	}
	return total, flush()
}
