package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

func jobsFilesCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "files ID",
		Short: "List the files that a job has left behind",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.withJob(cmd, args, func(ctx context.Context, f format, a *app.App, job *jobstore.Job) error {
				files, err := a.Store.Files(ctx, job.ID)
				if err != nil {
					return err
				}
				return printList(env.Stdout, f, files, []string{"NAME", "TYPE", "BYTES", "AT"}, func(f jobstore.File) []string {
					return []string{f.Name, f.Type, strconv.FormatInt(f.Size, 10), f.At.Local().Format(time.DateTime)}
				})
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

func jobsFileCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "file ID NAME -o FILE",
		Short:   "Save a file that a job has left behind",
		Long:    `Save a file that a job has left behind, - for the standard output. A file is not there before it is whole.`,
		Example: "  warren jobs file 17 report.csv -o report.csv",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := cmd.Flags().GetString("output")
			if err != nil {
				return err
			}
			if name == "" {
				return usagef("-o is needed: the file to write, - for the standard output")
			}
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			a, err := env.open(cmd, "warren")
			if err != nil {
				return err
			}
			defer a.Close()
			return env.saveFile(cmd.Context(), a, id, args[1], name)
		},
	}
	cmd.Flags().StringP("output", "o", "", "the file to write, - for the standard output")
	return cmd
}

func (e *Env) saveFile(ctx context.Context, a *app.App, id jobstore.ID, name, to string) error {
	files, err := a.Store.Files(ctx, id)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Name != name {
			continue
		}
		content, err := a.Files().OpenFile(ctx, f.ID)
		if err != nil {
			return err
		}
		whole := func(w io.Writer) error {
			n, err := io.Copy(w, content)
			if err == nil && n != f.Size {
				err = fmt.Errorf("only %d of its %d bytes are there", n, f.Size)
			}
			return err
		}
		if to == "-" {
			return errors.Join(whole(e.Stdout), content.Close())
		}
		return errors.Join(writeFile(to, whole), content.Close())
	}
	return fmt.Errorf("job %d has no file %s: %w", id, terminal.OneLine(strconv.Quote(name)), jobstore.ErrNotFound)
}
