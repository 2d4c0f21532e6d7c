package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

// lookEvery is how often a command that follows a job looks at it.
const lookEvery = 500 * time.Millisecond

func jobsShowCmd(env *Env) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one job",
		Long: `Show one job. With --watch it shows how far the job is, twice a second, until it has ended, and then
the job: a bar on a terminal, elsewhere a line for each change.`,
		Example: "  warren jobs show 17 --watch",
	}
	one := oneJobCmd(env, cmd, printJob)
	show := one.RunE
	one.RunE = func(cmd *cobra.Command, args []string) error {
		if !watch {
			return show(cmd, args)
		}
		return env.withJob(cmd, args, func(ctx context.Context, f format, a *app.App, job *jobstore.Job) error {
			last, err := env.watch(ctx, f, a.Store, job)
			if err != nil {
				return err
			}
			return printJob(env.Stdout, f, last)
		})
	}
	one.Flags().BoolVar(&watch, "watch", false, "show how far the job is until it has ended")
	return one
}

func printJob(w io.Writer, f format, j *jobstore.Job) error {
	switch f {
	case formatJSON:
		return printJSON(w, j)
	case formatLines:
		return json.NewEncoder(w).Encode(j)
	case formatTable:
	}
	return showJob(w, j)
}

// withJob opens the database and hands over the job that args name.
func (e *Env) withJob(cmd *cobra.Command, args []string, do func(ctx context.Context, f format, a *app.App, job *jobstore.Job) error) error {
	f, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	id, err := parseID(args[0])
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	job, err := a.Store.Get(cmd.Context(), id)
	if err != nil {
		return err
	}
	return do(cmd.Context(), f, a, &job)
}

// watch shows how far a job is, on stderr because stdout is for what it came to, and returns it when it has ended.
func (e *Env) watch(ctx context.Context, f format, jobs jobstore.Reader, job *jobstore.Job) (*jobstore.Job, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	onTerminal := terminal.Is(e.Stderr)
	for shown := ""; ; {
		text := standing(job)
		switch {
		case onTerminal:
			columns, _ := terminal.Size(e.Stderr)
			fmt.Fprintf(e.Stderr, "\r%s\x1b[K", shorten(text, max(columns-1, 20)))
		case f == formatTable && text != shown:
			fmt.Fprintln(e.Stderr, text)
		}
		shown = text
		if job.State.Final() {
			if onTerminal {
				fmt.Fprint(e.Stderr, "\r\x1b[K")
			}
			return job, nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		next, err := jobs.Get(ctx, job.ID)
		if errors.Is(err, jobstore.ErrNotFound) {
			return nil, err
		}
		if err == nil { // a database that is away comes back
			job = &next
		}
	}
}

// standing is where a job stands, in one line.
func standing(j *jobstore.Job) string {
	if j.Progress == nil {
		return fmt.Sprintf("job %d: %s", j.ID, j.State)
	}
	return fmt.Sprintf("job %d: %s  %s", j.ID, j.State, progressText(j.Progress))
}

// progressText is how far a job is, for people.
func progressText(p *jobstore.Progress) string {
	var parts []string
	if p.Percent != nil {
		const width = 30
		full := min(max(int(*p.Percent*width/100), 0), width)
		parts = append(parts, fmt.Sprintf("[%s%s] %3.0f %%", strings.Repeat("#", full), strings.Repeat(".", width-full), math.Floor(*p.Percent)))
	}
	if p.Stage != "" {
		parts = append(parts, terminal.OneLine(p.Stage))
	}
	done := strconv.FormatInt(p.Done, 10)
	if p.Total > 0 {
		done += fmt.Sprintf("/%d", p.Total)
	}
	if p.Rate > 0 {
		done += fmt.Sprintf(", %s/s", rateText(p.Rate))
	}
	if left, known := p.Left(); known && left > 0 {
		done += ", " + roughly(left) + " left"
	}
	text := strings.Join(append(parts, done), "  ")
	if p.Message != "" {
		text += ": " + terminal.OneLine(p.Message)
	}
	return text
}

func rateText(rate float64) string {
	if rate >= 10 {
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.2g", rate)
}

// roughly is a duration to two figures: an estimate is no better than that.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d d", (d+12*time.Hour)/(24*time.Hour))
	case d >= time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d s", (d+time.Second-1)/time.Second)
}
