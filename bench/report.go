package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// report is what a run has found out, and under what conditions.
type report struct {
	Began    time.Time `json:"began"`
	Commit   string    `json:"commit"`
	Machine  string    `json:"machine"`
	Servers  string    `json:"servers"`
	Settings string    `json:"settings"`
	Rounds   int       `json:"rounds"`
	Slots    int       `json:"slots"`
	Lines    []detail  `json:"lines"`
}

// Where results go, seen from the module's directory.
const (
	outDir    = "out"
	fullFile  = outDir + "/full.json"
	pastFile  = outDir + "/past.json" // the whole run before that
	pageFile  = "../docs/benchmarks.md"
	chartFile = "../docs/benchmarks.svg"
)

// write keeps the results: a quick run adds its lines to what earlier runs wrote, a whole one writes the page. A cut of
// the whole leaves the page alone.
func (r *report) write(p *plan) error {
	if err := os.MkdirAll(outDir, 0o755); err != nil { //nolint:gosec // results are for everybody
		return err
	}
	if p.quick {
		return r.appendLines(filepath.Join(outDir, "quick.json"))
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if !p.whole() {
		return writeFile(filepath.Join(outDir, "part.json"), append(text, '\n'))
	}
	if err := os.Rename(fullFile, pastFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(writeFile(fullFile, append(text, '\n')), render())
}

// render writes what docs/ has about the last whole run, and about the one before.
func render() error {
	r, err := readReport(fullFile)
	if err != nil {
		return err
	}
	past, err := readReport(pastFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(writeFile(pageFile, []byte(r.page(past))), writeFile(chartFile, []byte(r.chart())))
}

func readReport(path string) (*report, error) {
	text, err := os.ReadFile(path) //nolint:gosec // one of two names
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func writeFile(path string, text []byte) error {
	if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // results are for everybody
		return err
	}
	fmt.Println("wrote", path)
	return nil
}

// appendLines adds a JSON object a line: one for each figure, mode and peer.
func (r *report) appendLines(path string) (err error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // results are for everybody
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc := json.NewEncoder(f)
	for _, d := range r.Lines {
		if err := enc.Encode(d.line); err != nil {
			return err
		}
	}
	fmt.Println("added to", path)
	return nil
}

// machine says what the figures were taken on.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name"); ok {
			first, _, _ := strings.Cut(rest, "\n")
			model = strings.TrimSpace(strings.TrimLeft(first, "\t :"))
		}
	}
	return fmt.Sprintf("%d cores (%s), %s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
