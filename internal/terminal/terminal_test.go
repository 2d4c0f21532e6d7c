package terminal_test

import (
	"bytes"
	"testing"

	"github.com/warrenq/warren/internal/terminal"
)

func TestTextFromElsewhereIsSafe(t *testing.T) {
	t.Parallel()
	if got := terminal.OneLine("bad\x1b[31m\u202ename\nand\tmore\x00"); got != `bad\x1b[31m\x202ename and more\x00` {
		t.Errorf("OneLine gives %q", got)
	}
	if got := terminal.Printable("a\n\tb\a"); got != "a\n\tb\\x07" {
		t.Errorf("Printable gives %q", got)
	}
}

func TestABufferIsNoTerminal(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if terminal.Is(&b) {
		t.Error("a buffer is taken for a terminal")
	}
	if columns, lines := terminal.Size(&b); columns != 80 || lines != 24 {
		t.Errorf("its size is %d by %d", columns, lines)
	}
}
