package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/terminal"
)

// format is how results are printed.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatLines format = "jsonl"
)

func addOutputFlag(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", "table", "output as table, json or jsonl")
}

func outputFormat(cmd *cobra.Command) (format, error) {
	s, err := cmd.Flags().GetString("output")
	if err != nil {
		return "", err
	}
	switch f := format(s); f {
	case formatTable, formatJSON, formatLines:
		return f, nil
	}
	return "", usagef("output %q is not one of table, json, jsonl", s)
}

// printList writes rows as a table, one JSON array or one JSON object a line.
func printList[T any](w io.Writer, f format, rows []T, header []string, cells func(T) []string) error {
	switch f {
	case formatJSON:
		if rows == nil {
			rows = []T{}
		}
		return printJSON(w, rows)
	case formatLines:
		enc := json.NewEncoder(w)
		for _, row := range rows {
			if err := enc.Encode(row); err != nil {
				return err
			}
		}
		return nil
	case formatTable:
	}
	var text bytes.Buffer
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(header, "\t"))
	for _, row := range rows {
		line := cells(row)
		for i := range line {
			line[i] = terminal.OneLine(line[i])
		}
		fmt.Fprintln(tw, strings.Join(line, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, painted(text.String(), terminal.Is(w) && os.Getenv("NO_COLOR") == ""))
	return err
}

// painted shows a table to a person on a terminal: its first line bold, states in their colours.
func painted(table string, colour bool) string {
	if !colour {
		return table
	}
	head, body, _ := strings.Cut(table, "\n")
	return terminal.Bold(head) + "\n" + terminal.PaintStates(body)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printValue writes one object, on one line where programs read lines.
func printValue(w io.Writer, f format, v any) error {
	if f == formatLines {
		return json.NewEncoder(w).Encode(v)
	}
	return printJSON(w, v)
}

// say prints what a command came to: a sentence for people, v for programs.
func say(w io.Writer, f format, v any, sentence string, args ...any) error {
	if f != formatTable {
		return printValue(w, f, v)
	}
	_, err := fmt.Fprintf(w, sentence+"\n", args...)
	return err
}

// done is one thing that a command was about, and what came of it.
type done struct {
	Of     string `json:"of,omitempty"`
	Name   string `json:"name"`
	Result string `json:"result"`
}

// tally tells people of each thing at once, and programs of all at the end.
type tally struct {
	w    io.Writer
	out  format
	list []done
}

func (t *tally) add(d done) error {
	if t.list = append(t.list, d); t.out != formatTable {
		return nil
	}
	_, err := fmt.Fprintln(t.w, d.Result)
	return err
}

// end is for programs, also when it went wrong half-way.
func (t *tally) end(err error) error {
	if t.out == formatTable || err != nil && len(t.list) == 0 {
		return err
	}
	return errors.Join(err, printList(t.w, t.out, t.list, nil, nil))
}

// isCobraUsage recognises the complaints that cobra makes itself, which have no type.
func isCobraUsage(err error) bool {
	for _, begin := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires ", "required flag", "invalid argument", "if any flags in the group"} {
		if strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return false
}
