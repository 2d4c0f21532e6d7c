package command

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/warrenq/warren/handlers"
)

// DefaultGrace is the time between SIGTERM and SIGKILL when Config.Grace is 0. It is below the
// two seconds that a stopping consumer gives its cancelled handlers.
const DefaultGrace = 1500 * time.Millisecond

// Config says which program runs the jobs of a kind.
type Config struct {
	// Run is the program and its arguments, as they are: there is no shell, and nothing of a job
	// is put into them. A program without a slash is looked up in PATH when the handler is made;
	// a relative one with a slash is relative to Dir.
	Run []string
	// Dir is the working directory. Empty: the consumer's.
	Dir string
	// Env is added to the environment of the program, in place of what the consumer has by the
	// same names.
	// Names that begin with WARREN_ are Warren's own.
	Env map[string]handlers.Secret
	// Grace is how long the program has between SIGTERM and SIGKILL when its job is called off.
	// 0: DefaultGrace. A consumer that is stopping leaves 2 s after it called its handlers off.
	Grace time.Duration
}

// Validate joins what is wrong with the configuration by itself: it does not look for the
// program, which New does.
func (c Config) Validate() error {
	var errs []error
	if len(c.Run) == 0 || c.Run[0] == "" {
		errs = append(errs, errors.New(`run names no program; want a list such as ["/usr/bin/python3", "resize.py"]`))
	}
	for i, arg := range c.Run {
		if strings.ContainsRune(arg, 0) {
			errs = append(errs, fmt.Errorf("run has the character NUL in item %d (not shown: it may be a secret), which no argument can hold; remove it", i))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		variable, _, assigned := strings.Cut(name, "=")
		switch {
		case assigned: // NAME=VALUE as a name: the value may be a secret
			errs = append(errs, fmt.Errorf("env %q has an = in its name; write it as NAME: VALUE", variable))
		case name == "" || strings.ContainsRune(name, 0) || strings.ContainsRune(string(c.Env[name]), 0):
			errs = append(errs, fmt.Errorf("env %q is not a variable: names are not empty, and neither names nor values hold the character NUL", name))
		case strings.HasPrefix(name, "WARREN_"):
			errs = append(errs, fmt.Errorf("env %q begins with WARREN_, which is Warren's own; choose another name", name))
		}
	}
	if c.Grace < 0 {
		errs = append(errs, fmt.Errorf("grace %s is negative; want 0 for %s, or a duration such as 10s", c.Grace, DefaultGrace))
	}
	return errors.Join(errs...)
}

// program finds the file to run, so that a missing one is told at the start and not by each job.
func (c Config) program() (string, error) {
	name := c.Run[0]
	if strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) && c.Dir != "" {
		name = filepath.Join(c.Dir, name)
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if first, _, line := strings.Cut(c.Run[0], " "); err != nil && line { // a command line for a shell
		return "", fmt.Errorf("program %q with what follows it (not shown: it may be a secret) cannot be run here: %w; make each argument an item of run", first, cause(err))
	}
	if err != nil {
		return "", fmt.Errorf("program %q cannot be run here: %w; install it, or correct the first item of run", c.Run[0], cause(err))
	}
	return path, nil
}

// cause drops the file name that the caller has named already.
func cause(err error) error {
	if e := (*exec.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return err
}

func (c Config) grace() time.Duration { return cmp.Or(c.Grace, DefaultGrace) }
