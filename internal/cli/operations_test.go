package cli_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/testenv"
)

const operations = "../../docs/operations.md"

// blocks are the fenced blocks of one language in the page.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("no %s block in %s", language, operations)
	}
	return out
}

// Every SQL block works on a database with jobs in many states. Roles belong to the server, so they
// are made and forgotten again.
func TestOperationsSQL(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	p := person{t: t, config: newPerson(t).config}.with("DATABASE_URL=" + dsn)
	p.must(cli.Warren, "migrate", "up")
	for _, kind := range []string{"probe", "mail"} {
		p.must(cli.Producer, "publish", kind, "--queue", "media")
		p.must(cli.Producer, "publish", kind, "--delay", "1h")
		p.must(cli.Producer, "publish", kind, "--args", `{"outcome":"permanent"}`)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, block := range blocks(t, "sql") {
		text := block
		for _, role := range []string{"app", "report", "deploy"} { // the roles of other tests on this server
			text = regexp.MustCompile(`\b`+role+`\b( LOGIN)?;`).ReplaceAllString(text, role+"_of_operations_test$1;")
		}
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), text); err != nil {
			t.Errorf("%v in\n%s", err, block)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Every command exists, with these flags.
func TestOperationsCommands(t *testing.T) {
	t.Parallel()
	for _, block := range blocks(t, "console") {
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
			line, _, _ = strings.Cut(line, ">")
			typed, ok := strings.CutPrefix(line, "$ warren ")
			if !ok {
				continue
			}
			err := exists(cli.Warren, typed)
			if err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
	}
}

// exists reads what is typed after the name of a program, without doing it.
func exists(program func(*cli.Env) *cobra.Command, typed string) error {
	cmd, rest, err := program(&cli.Env{}).Find(strings.Fields(typed))
	switch {
	case err != nil:
		return err
	case cmd.HasSubCommands() && cmd.Args(cmd, []string{"below"}) == nil: // a group takes anything, and says that it knows no such command
		return errors.New("it is no command of its own")
	}
	if err := cmd.ParseFlags(rest); err != nil || cmd.Args == nil {
		return err
	}
	return cmd.Args(cmd, cmd.Flags().Args())
}

// Every command that the list of features shows exists, with these flags.
func TestFeatureCommands(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/features.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]func(*cli.Env) *cobra.Command{"warren": cli.Warren, "consumer": cli.Consumer, "producer": cli.Producer}
	found := regexp.MustCompile("`(warren|consumer|producer) ([^`]+)`").FindAllStringSubmatch(string(page), -1)
	for _, m := range found {
		if err := exists(programs[m[1]], m[2]); err != nil {
			t.Errorf("%q: %v", m[0], err)
		}
	}
	if len(found) < 20 {
		t.Errorf("%d commands were read; has the page another form?", len(found))
	}
}

// rabbitmqctl types every rabbitmqctl command of the page, in its order.
func (p person) rabbitmqctl(rabbit *testenv.RabbitServer) {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "definitions.json")
	if err := os.WriteFile(file, []byte(p.must(cli.Warren, "topology", "export")), 0o644); err != nil {
		p.t.Fatal(err)
	}
	ran := 0
	for _, block := range blocks(p.t, "console") {
		for line := range strings.Lines(block) {
			typed, ok := strings.CutPrefix(strings.TrimSpace(line), "$ rabbitmqctl ")
			if !ok {
				continue
			}
			args := strings.Fields(typed)
			for i, a := range args {
				args[i] = strings.Trim(strings.Replace(a, "definitions.json", file, 1), "'")
			}
			rabbit.Ctl(args...)
			ran++
		}
	}
	if ran < 5 {
		p.t.Errorf("only %d rabbitmqctl commands in %s", ran, operations)
	}
}

// The rights of the page are those that TestTopologyManagedOutside gives.
func TestOperationsRights(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| `^warren\\.` | `^warren\\.` | `^warren\\.` |",
		"producers | `^$` | `^warren\\.jobs$` | `^$` |",
		"consumers | `^$` | `^warren\\.jobs$` | `^warren\\..*\\.p[0-9]{3}$` |",
	} {
		if !strings.Contains(string(page), row) {
			t.Errorf("the page does not have %s", row)
		}
	}
}
