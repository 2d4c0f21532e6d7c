package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

// paceFlags say how carefully a mass change goes.
type paceFlags struct {
	rate   float64
	canary int
	wait   durationFlag
	stopIf string
}

// add gives cmd the flags that make sense for a verb: only jobs that run can fail.
func (p *paceFlags) add(cmd *cobra.Command, verb string) {
	fl := cmd.Flags()
	fl.Float64Var(&p.rate, "rate", 0, "change at most so many jobs a second (default: no limit)")
	if verb != string(jobstore.VerbRetry) && verb != string(jobstore.VerbEdit) {
		return
	}
	p.wait = durationFlag(10 * time.Minute)
	fl.IntVar(&p.canary, "canary", 0, "change so many jobs first, and the rest when those have ended well")
	fl.Var(&p.wait, "canary-wait", "how long they may take")
	fl.StringVar(&p.stopIf, "stop-if", "", "stop when more failed: failed>10%, or failed>50 (with --canary: failed>10%)")
}

// into checks what was typed. looking is a dry run, or jobs given by their numbers.
func (p *paceFlags) into(m *app.MassChange, looking bool) error {
	switch {
	case p.rate < 0 || math.IsNaN(p.rate) || math.IsInf(p.rate, 0) || p.rate > 0 && p.rate < 0.001:
		return usagef("--rate %g is no number of jobs a second, such as 50", p.rate)
	case p.canary < 0:
		return usagef("--canary %d is negative", p.canary)
	case p.canary > 100_000:
		return usagef("--canary %d is too many to wait for; at most 100000", p.canary)
	case p.canary > 0 && p.wait <= 0:
		return usagef("--canary-wait 0s is no time for a canary; give one such as 10m")
	case looking && (p.rate > 0 || p.canary > 0 || p.stopIf != ""):
		return usagef("--rate, --canary and --stop-if are for changes by a filter, without --dry-run")
	}
	m.Rate, m.Canary, m.CanaryWait = p.rate, p.canary, time.Duration(p.wait)
	text := p.stopIf
	if text == "" && p.canary > 0 {
		text = "failed>10%"
	}
	if text == "" {
		return nil
	}
	var err error
	m.StopIf, err = app.ParseStopIf(text)
	if err != nil {
		return usagef("--stop-if %w", err)
	}
	return nil
}

// specOf is what was typed, without how carefully and in which form: the same text is the same change. Of new args it has
// a digest: more people see changes than may see args, and a file may have another content the next time.
func specOf(cmd *cobra.Command, args []string, contents map[string]json.RawMessage) (json.RawMessage, error) {
	words := append(strings.Fields(cmd.CommandPath()), args...)
	own := configFlags()
	how := []string{"yes", "output", "rate", "canary", "canary-wait", "stop-if", "config"}
	cmd.Flags().Visit(func(f *pflag.Flag) { // in the order of their names
		if _, global := own[f.Name]; global || slices.Contains(how, f.Name) {
			return
		}
		if content, ok := contents[f.Name]; ok {
			sum := sha256.Sum256(content)
			words = append(words, "--"+f.Name, "sha256:"+hex.EncodeToString(sum[:8]))
			return
		}
		if many, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range many.GetSlice() {
				words = append(words, "--"+f.Name, v)
			}
			return
		}
		words = append(words, "--"+f.Name, f.Value.String())
	})
	return json.Marshal(map[string][]string{"command": words})
}

// whoami is the person at the keyboard, as far as the system knows.
func whoami() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// massError gives what ended a mass change its exit code.
func massError(err error) error {
	if held, ok := errors.AsType[*app.HeldError](err); ok {
		return refusedf("%w", held)
	}
	if stopped, ok := errors.AsType[*app.StoppedError](err); ok {
		return &codeError{code: exitThreshold, err: stopped}
	}
	return err
}
