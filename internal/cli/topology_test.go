package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/testenv"
)

// person types commands in an environment of its own.
type person struct {
	t       *testing.T
	config  string
	environ []string
}

func (p person) with(environ ...string) person {
	p.environ = append(slices.Clone(p.environ), environ...)
	return p
}

// run runs one command and returns what it printed and its exit code.
func (p person) run(ctx context.Context, tree func(*cli.Env) *cobra.Command, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	var out, problems bytes.Buffer
	code = p.types(ctx, &out, &problems, tree, args...)
	return out.String(), problems.String(), code
}

// types is run for a command that says something before it ends.
func (p person) types(ctx context.Context, stdout, stderr io.Writer, tree func(*cli.Env) *cobra.Command, args ...string) (code int) {
	env := &cli.Env{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr,
		Environ: func() []string { return p.environ }, Second: make(chan struct{}),
	}
	return cli.Execute(ctx, tree(env), append(args, "--config", p.config), stdout, stderr)
}

func (p person) must(tree func(*cli.Env) *cobra.Command, args ...string) string {
	p.t.Helper()
	out, problems, code := p.run(p.t.Context(), tree, args...)
	if code != 0 {
		p.t.Fatalf("%v: exit code %d\n%s%s", args, code, out, problems)
	}
	return out
}

func newPerson(t *testing.T) person {
	t.Helper()
	file := filepath.Join(t.TempDir(), "warren.yaml")
	if err := os.WriteFile(file, []byte(topologyYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	return person{t: t, config: file}.with("DATABASE_URL=" + testenv.Postgres(t))
}

const topologyYAML = `
priorities: [10, 20]
kinds:
  probe: {probe: {}}
  resize: {probe: {}, queue: media}
`

func TestTopologyApply(t *testing.T) {
	t.Parallel()
	p := newPerson(t).with("AMQP_URL=" + testenv.RabbitMQ(t))
	results := func() map[string]string {
		var items []struct{ What, Name, Result string }
		if err := json.Unmarshal([]byte(p.must(cli.Warren, "topology", "apply", "-o", "json")), &items); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, i := range items {
			got[i.What+" "+i.Name] = i.Result
		}
		return got
	}
	for _, want := range []string{"made", "exists"} {
		got := results()
		for _, thing := range []string{
			"exchange warren.jobs", "exchange warren.unroutable", "queue warren.poison", "queue warren.default.p010",
			"queue warren.default.p020", "queue warren.media.p010", "queue warren.media.p020",
		} {
			if got[thing] != want {
				t.Errorf("%s: %q, want %q", thing, got[thing], want)
			}
		}
		if len(got) != 12 || got["binding warren.jobs -> warren.media.p020"] != "bound" {
			t.Errorf("applied: %v", got)
		}
	}
	// Another type of queue cannot be had any more: it is said, and it is used.
	out := p.with("WARREN_QUEUE_TYPE=quorum").must(cli.Warren, "topology", "apply")
	if !strings.Contains(out, "differs") || !strings.Contains(out, "x-queue-type") {
		t.Errorf("with another queue type:\n%s", out)
	}
}

func TestTopologyNeedsABroker(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	if _, problems, code := p.run(t.Context(), cli.Warren, "topology", "apply"); code != 2 || !strings.Contains(problems, "AMQP_URL is not set") {
		t.Errorf("without a broker: %d, %s", code, problems)
	}
	away := p.with("AMQP_URL=amqp://guest:" + canary + "@127.0.0.1:1/")
	if _, problems, code := away.run(t.Context(), cli.Warren, "topology", "apply"); code != 1 || !strings.Contains(problems, "127.0.0.1:1") || strings.Contains(problems, canary) {
		t.Errorf("with a broker that is away: %d, %s", code, problems)
	}
	for vhost, args := range map[string][]string{"/": nil, "prod": {"--vhost", "prod"}} {
		out := p.must(cli.Warren, append([]string{"topology", "export"}, args...)...)
		if !strings.Contains(out, `"vhost": "`+vhost+`"`) {
			t.Errorf("export %v:\n%s", args, out)
		}
	}
	if out := p.with("AMQP_URL=amqp://h/a%2Fb").must(cli.Warren, "topology", "export"); !strings.Contains(out, `"vhost": "a/b"`) {
		t.Errorf("export takes the vhost of the URL:\n%s", out)
	}
}

// What export prints loads into a broker that has nothing, and then users who may configure nothing
// and touch only what they need publish and consume. The rights are those of docs/operations.md.
func TestTopologyManagedOutside(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	p := newPerson(t)
	file := filepath.Join(t.TempDir(), "definitions.json")
	if err := os.WriteFile(file, []byte(p.must(cli.Warren, "topology", "export")), 0o644); err != nil {
		t.Fatal(err)
	}
	rabbit.Ctl("import_definitions", file)
	user := func(name, configure, write, read string) person {
		rabbit.Ctl("add_user", name, canary)
		rabbit.Ctl("set_permissions", "-p", "/", name, configure, write, read)
		return p.with("AMQP_URL=amqp://" + name + ":" + canary + "@" + rabbit.Addr() + "/")
	}
	producer := user("producer", `^$`, `^warren\.jobs$`, `^$`)
	consumer := user("consumer", `^$`, `^warren\.jobs$`, `^warren\..*\.p[0-9]{3}$`)
	nobody := user("nobody", `^$`, `^$`, `^$`)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan string, 1)
	go func() {
		_, log, code := consumer.run(ctx, cli.Consumer, "run", "--log-format", "console")
		if code != 0 {
			t.Errorf("consumer: exit code %d", code)
		}
		ended <- log
	}()
	id := strings.TrimSpace(producer.must(cli.Producer, "publish", "resize", "--priority", "20"))
	eventually(t, "the job ran", func() bool {
		return strings.Contains(p.must(cli.Warren, "jobs", "show", id, "-o", "json"), `"state": "FINISHED"`)
	})
	checkCitizens(t, rabbit)
	stop()
	log := <-ended
	if strings.Contains(log, "ERROR") || strings.Contains(log, canary) {
		t.Errorf("the consumer said:\n%s", log)
	}
	out, problems, code := nobody.run(t.Context(), cli.Warren, "topology", "apply")
	if code != 1 || !strings.Contains(problems, "the broker refused 5 of 12") || !strings.Contains(out, "this user may not configure it") {
		t.Errorf("apply by nobody: %d\n%s%s", code, out, problems)
	}
}

// Who may configure, write and read everything under the prefix makes what is missing, and nothing
// else. Then every rabbitmqctl command of docs/operations.md works.
func TestTopologyOfALeastPrivilegedUser(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	rabbit.Ctl("add_user", "warren", canary)
	rabbit.Ctl("set_permissions", "-p", "/", "warren", `^warren\.`, `^warren\.`, `^warren\.`)
	p := newPerson(t).with("AMQP_URL=amqp://warren:" + canary + "@" + rabbit.Addr() + "/")
	if out := p.must(cli.Warren, "topology", "apply"); strings.Count(out, "made") != 7 || strings.Count(out, "bound") != 5 {
		t.Errorf("apply:\n%s", out)
	}
	if out, _, code := p.with("WARREN_QUEUE_PREFIX=other").run(t.Context(), cli.Warren, "topology", "apply"); code != 1 || !strings.Contains(out, "refused") {
		t.Errorf("apply under another prefix: %d\n%s", code, out)
	}
	rabbit.Ctl("add_user", "consumer", canary)
	p.rabbitmqctl(rabbit)
}

// checkCitizens looks at what rabbitmqctl, and with it the management UI, shows of a consumer.
func checkCitizens(t *testing.T, rabbit *testenv.RabbitServer) {
	t.Helper()
	queues := []string{"warren.default.p010", "warren.default.p020", "warren.media.p010", "warren.media.p020"}
	var consumers string
	eventually(t, "the broker shows a consumer of each queue", func() bool {
		consumers = rabbit.Ctl("list_consumers", "queue_name", "consumer_tag", "--quiet")
		return !slices.ContainsFunc(queues, func(q string) bool { return !strings.Contains(consumers, q+"\t") })
	})
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(host, ".")
	for _, queue := range queues {
		found := false
		for line := range strings.Lines(consumers) {
			name, tag, _ := strings.Cut(strings.TrimSpace(line), "\t")
			found = found || name == queue && strings.HasPrefix(tag, short+"-") && strings.HasSuffix(tag, "-"+queue)
		}
		if !found {
			t.Errorf("no consumer of %s has a tag host-pid-queue:\n%s", queue, consumers)
		}
	}
	connections := rabbit.Ctl("list_connections", "client_properties", "--quiet")
	for _, want := range []string{"warren-consumer@" + host + ":", "(consume)", "(publish)", `"Warren"`} {
		if !strings.Contains(connections, want) {
			t.Errorf("list_connections does not show %q:\n%s", want, connections)
		}
	}
	if all := rabbit.Ctl("list_queues", "name", "durable", "--quiet"); !strings.Contains(all, "warren.poison") || strings.Contains(all, "false") {
		t.Errorf("list_queues:\n%s", all)
	}
}

// eventually wants cond to become true.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("after a minute not: %s", what)
		}
	}
}
