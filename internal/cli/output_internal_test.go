package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestTablesArePlainUnlessAPersonLooks(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := printList(&out, formatTable, []string{"FINISHED", "bad\x1b[31m\u202ename"}, []string{"STATE"}, func(s string) []string { return []string{s} })
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsRune(out.String(), 0x1b) || strings.ContainsRune(out.String(), 0x202e) {
		t.Errorf("control characters reach the terminal: %q", out.String())
	}
	if got := painted("STATE\nFINISHED\n", true); got != "\x1b[1mSTATE\x1b[0m\n\x1b[32mFINISHED\x1b[0m\n" {
		t.Errorf("painted %q", got)
	}
}
