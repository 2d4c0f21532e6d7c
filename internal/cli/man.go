package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func manCmd(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man --dir DIR",
		Short: "Write man pages of every command into a directory",
		Long: `Write man pages of every command of producer, consumer and warren into a directory, which is made
when it does not exist. SOURCE_DATE_EPOCH gives their date, for builds that can be repeated.`,
		Example: `  warren man --dir /usr/local/share/man/man1`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if dir == "" {
				return usagef("--dir is missing; it names the directory to write to")
			}
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // man pages are for everybody
				return err
			}
			for _, tree := range []func(*Env) *cobra.Command{Producer, Consumer, Warren} {
				root := tree(env)
				root.InitDefaultCompletionCmd()
				root.DisableAutoGenTag = true
				header := &doc.GenManHeader{Section: "1", Source: "Warren " + Version(), Manual: "Warren"}
				if err := doc.GenManTree(root, header, dir); err != nil {
					return fmt.Errorf("write the man pages of %s: %w", root.Name(), err)
				}
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%s has %d files\n", dir, len(entries))
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the directory")
	return cmd
}
