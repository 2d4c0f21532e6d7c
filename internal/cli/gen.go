package cli

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	gofmt "go/format"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/config"
)

//go:embed gen_job.tmpl
var jobTemplate string

//go:embed gen_job_test.tmpl
var jobTestTemplate string

// goName is a name that other packages can use.
var goName = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,79}$`)

// generated is what the templates know.
type generated struct {
	Package, Name, Kind string
}

func genCmd(env *Env) *cobra.Command {
	var g generated
	var dir string
	var force bool
	job := &cobra.Command{
		Use:   "job NAME",
		Short: "Write a handler and its test",
		Long: `Write NAME's args, handler and test into two files of a Go package, for you to fill in. NAME is a Go name
that begins with a capital letter. Files that exist are left alone.`,
		Example: `  warren gen job ProcessPodcast --dir internal/jobs`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			g.Name = args[0]
			if err := g.complete(dir); err != nil {
				return usage(err)
			}
			return g.write(env, dir, force)
		},
	}
	fl := job.Flags()
	fl.StringVar(&dir, "dir", ".", "the folder of the package")
	fl.StringVar(&g.Package, "package", "", "the name of the package (default: that of the folder)")
	fl.StringVar(&g.Kind, "kind", "", "the kind of its jobs (default: NAME in lower case, with dashes)")
	fl.BoolVar(&force, "force", false, "write over files that exist")
	return group(&cobra.Command{Use: "gen", Short: "Write Go code to begin with"}, job)
}

// complete checks what was given, and fills in the rest.
func (g *generated) complete(dir string) error {
	if !goName.MatchString(g.Name) {
		return fmt.Errorf("%.100q is not a name for a handler; use a capital letter, then letters and digits, such as ProcessPodcast", g.Name)
	}
	if g.Package == "" {
		full, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		g.Package = strings.ToLower(strings.Map(func(r rune) rune {
			if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				return -1
			}
			return r
		}, filepath.Base(full)))
	}
	if !token.IsIdentifier(g.Package) || g.Package == "_" {
		return fmt.Errorf("%.100q is not a name for a package; give one with --package", g.Package)
	}
	if g.Kind == "" {
		g.Kind = spread(g.Name, "-")
	}
	return config.CheckKind(g.Kind)
}

// spread is a Go name in lower case, with something between its words: ProcessPDFFile is process-pdf-file.
func spread(name, between string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		begins := unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins {
			b.WriteString(between)
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (g *generated) write(env *Env, dir string, force bool) error {
	base := filepath.Join(dir, spread(g.Name, "_"))
	for _, file := range []struct{ path, text string }{{base + ".go", jobTemplate}, {base + "_test.go", jobTestTemplate}} {
		var out bytes.Buffer
		if err := template.Must(template.New("").Parse(file.text)).Execute(&out, g); err != nil {
			return err
		}
		text, err := gofmt.Source(out.Bytes())
		if err != nil {
			return err
		}
		how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
		if force {
			how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		}
		if err := writeCode(file.path, how, text); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return refusedf("%s exists; give another name, or --force to write over it", file.path)
			}
			return fmt.Errorf("%w; give a folder that is there with --dir", err)
		}
		if _, err := fmt.Fprintln(env.Stdout, file.path); err != nil {
			return err
		}
	}
	return nil
}

func writeCode(path string, how int, text []byte) error {
	f, err := os.OpenFile(path, how, 0o644) //nolint:gosec // code is for everybody who may read the folder
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
