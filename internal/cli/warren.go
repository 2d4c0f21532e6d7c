package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// Warren is the command tree of the program for operators.
func Warren(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:     "warren",
		Short:   "Prepare, inspect and mend an installation of Warren",
		Version: Version(),
	}
	addConfigFlags(root)
	root.AddCommand(operatorCmds(env)...)
	return group(root, devCmd(env), genCmd(env), migrateCmd(env), jobsCmd(env), statsCmd(env), whyCmd(env), topologyCmd(env), doctorCmd(env), configCmd(env))
}

func configCmd(env *Env) *cobra.Command {
	var origin bool
	show := &cobra.Command{
		Use:   "show",
		Short: "Print the effective configuration, secrets masked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			header := []string{"KEY", "VALUE"}
			if origin {
				header = append(header, "ORIGIN")
			}
			return printList(env.Stdout, f, cfg.Settings(), header, func(o config.Setting) []string {
				cells := []string{o.Key, o.Value}
				if origin {
					cells = append(cells, o.Origin)
				}
				return cells
			})
		},
	}
	show.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	addOutputFlag(show)
	return group(&cobra.Command{Use: "config", Short: "The configuration"}, show)
}

// migrateUpCmd is one command under two names.
func migrateUpCmd(env *Env, name string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: "Bring the schema up to this program's, and store the configured priorities and kinds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			a, err := env.connect(cmd)
			if err != nil {
				return err
			}
			defer a.Close()
			before, err := a.Store.Migrations(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.Migrate(cmd.Context()); err != nil {
				return err
			}
			return printApplied(env.Stdout, out, slices.DeleteFunc(before, func(m jobstore.Migration) bool { return m.Applied }))
		},
	}
	addOutputFlag(cmd)
	return cmd
}

// printApplied lists the migrations that were just applied.
func printApplied(w io.Writer, out format, list []jobstore.Migration) error {
	for i := range list {
		if list[i].Applied = true; out == formatTable {
			fmt.Fprintf(w, "applied %d %s\n", list[i].Number, list[i].Name)
		}
	}
	switch {
	case out != formatTable:
		return printList(w, out, list, nil, nil)
	case len(list) == 0:
		fmt.Fprintln(w, "the schema is up to date")
	}
	return nil
}

func migrateCmd(env *Env) *cobra.Command {
	up := migrateUpCmd(env, "up")
	status := &cobra.Command{
		Use:   "status",
		Short: "List the migrations and whether they are applied",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			a, err := env.connect(cmd)
			if err != nil {
				return err
			}
			defer a.Close()
			list, err := a.Store.Migrations(cmd.Context())
			if err != nil {
				return err
			}
			return printMigrations(env.Stdout, f, list)
		},
	}
	addOutputFlag(status)
	script := &cobra.Command{
		Use:   "sql",
		Short: "Print the migrations as SQL, for another migration tool",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			return app.WriteMigrations(env.Stdout, cfg)
		},
	}
	return group(&cobra.Command{Use: "migrate", Short: "The database's schema"}, up, status, script)
}

func printMigrations(w io.Writer, f format, list []jobstore.Migration) error {
	return printList(w, f, list, []string{"NUMBER", "NAME", "APPLIED"}, func(m jobstore.Migration) []string {
		applied := "no"
		if m.Applied {
			applied = "yes"
		}
		return []string{strconv.Itoa(m.Number), m.Name, applied}
	})
}
