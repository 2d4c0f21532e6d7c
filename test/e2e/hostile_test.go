package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/testenv"
)

// A hundred thousand numbers from somebody who may write to the broker change not one row: those of
// jobs that do not exist, have ended, are not due, are running, or are in a queue that this consumer
// does not take.
func TestFloodOfForgedHints(t *testing.T) {
	t.Parallel()
	address := testenv.RabbitMQ(t)
	w := newWorld(t, testenv.Postgres(t), address)
	w.must(t, "warren", "migrate", "up")
	w.must(t, "warren", "topology", "apply")
	w.sql(t, `INSERT INTO warren.jobs (kind, queue, priority, state, finished_at)
		SELECT 'probe', 'default', 10, 'FINISHED', now() FROM generate_series(1, 2000)`)
	w.sql(t, `INSERT INTO warren.jobs (kind, queue, priority, state, available_at)
		SELECT 'probe', 'default', 10, 'SCHEDULED', now() + interval '1 day' FROM generate_series(1, 2000)`)
	w.sql(t, "INSERT INTO warren.jobs (kind, queue, priority) SELECT 'media', 'media', 30 FROM generate_series(1, 2000)")
	w.start(t, "--queue", "default", "-c", "2")
	running := w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"10m"}`)
	w.running(t, running)
	everything := func() string {
		t.Helper()
		return w.sql(t, "SELECT md5(string_agg(jobs::text, ',' ORDER BY id)) FROM warren.jobs")
	}
	before := everything()

	conn, err := amqp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for message := range 200 { // of 500 numbers each: those of rows again and again, and of nobody
		var body strings.Builder
		for n := range 500 {
			fmt.Fprintf(&body, "%d ", 1+(message*500+n)%9000)
		}
		err := ch.PublishWithContext(t.Context(), "", "warren.default.p010", true, false, amqp.Publishing{
			Body: []byte(strings.TrimSpace(body.String())), Type: "job", Priority: 9, MessageId: running,
			Headers: amqp.Table{"x-death": amqp.Table{"count": int64(1 << 40)}, "queue": "media"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// What is published after the flood runs, so the flood is over.
	last := w.must(t, "producer", "publish", "probe")
	w.awaitCount(t, 1, "state = 'FINISHED' AND id = "+last)
	w.sql(t, "DELETE FROM warren.jobs WHERE id = "+last)
	if after := everything(); after != before {
		t.Errorf("the flood has changed rows: %s", w.sql(t, "SELECT json_object_agg(state, n)::text FROM (SELECT state, count(*) n FROM warren.jobs GROUP BY 1) s"))
	}
}

// A password that is everywhere in the configuration is nowhere in what programs say or write.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const canary = "S3CR3T-CANARY-51d7"
	rabbit, dsn := testenv.RabbitMQ(t), testenv.Postgres(t)
	vhost, err := url.Parse(rabbit)
	if err != nil {
		t.Fatal(err)
	}
	user := "canary" + strings.TrimPrefix(vhost.Path, "/")
	testenv.RabbitCtl(t, "add_user", user, canary)
	t.Cleanup(func() { testenv.RabbitCtl(t, "delete_user", user) })
	testenv.RabbitCtl(t, "set_permissions", "-p", strings.TrimPrefix(vhost.Path, "/"), user, ".*", ".*", ".*")
	vhost.User = url.UserPassword(user, canary)
	hook := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		out.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(out, "you said "+r.URL.String()+" "+canary)
	}))
	defer hook.Close()
	address := strings.Replace(hook.URL, "://", "://me:"+canary+"@", 1) + "/jobs?token=" + canary

	w := newWorld(t, dsn, vhost.String())
	w.env[0] = "DATABASE_URL=" + strings.Replace(dsn, "postgres@", "postgres:"+canary+"@", 1)
	w.env = append(w.env, "WARREN_API_TOKEN="+canary+"-token-that-is-long-enough")
	config := kinds + fmt.Sprintf("  hook: {webhook: {url: %q, secret: %q}, max_attempts: 1}\nnotify: {attempts: 1, webhook: %q}\n", address, canary, address)
	if err := os.WriteFile(filepath.Join(w.dir, "warren.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said []string
	try := func(env []string, program string, args ...string) {
		t.Helper()
		own := *w
		own.env = append(append([]string(nil), w.env...), env...)
		r := own.run(t, program, args...)
		said = append(said, fmt.Sprintf("%s %v: %d\n%s%s", program, args, r.code, r.stdout, r.stderr))
	}
	consumer := w.start(t, "--listen", "127.0.0.1:0", "--log-level", "debug", "--log-format", "json", "-c", "2")
	for kind, args := range map[string]string{"hook": "{}", "once": `{"outcome":"panic","message":"boom"}`, "quick": `{"outcome":"temporary"}`} {
		try(nil, "producer", "publish", kind, "--args", args)
	}
	w.awaitCount(t, 3, "state = 'PERMANENTLY_FAILED'")
	_, metrics := ask(t, consumer.listens(t), "/metrics")
	for _, args := range []string{"config show --origin", "doctor", "jobs list -o json", "jobs show 1", "jobs logs 1", "why 1", "stats", "reconcile", "topology export", "migrate status"} {
		try(nil, "warren", strings.Fields(args)...)
	}
	for _, broken := range []string{
		"DATABASE_URL=postgres://u:" + canary + "@127.0.0.1:1/x", "DATABASE_URL=postgres://u:" + canary + "%zz@h/x", "DATABASE_URL=mysql://u:" + canary + "@h",
		"DATABASE_URL=host=127.0.0.1 port=1 password=" + canary, "AMQP_URL=amqp://u:" + canary + "@127.0.0.1:1/", "AMQP_URL=amqp://u:" + canary + "/x@h:port",
		"AMQP_URL=" + strings.Replace(vhost.String(), canary, canary+"-wrong", 1),
	} {
		try([]string{broken}, "warren", "doctor")
		try([]string{broken}, "warren", "reconcile")
		try([]string{broken}, "producer", "publish", "probe")
		try([]string{broken}, "consumer", "run", "--once")
	}
	consumer.signal(t, syscall.SIGQUIT) // what a crash prints: every goroutine, with its arguments
	consumer.exit(t)
	said = append(said, "metrics: "+metrics, "log: "+consumer.log.tail(1<<24),
		"rows: "+w.sql(t, "SELECT string_agg(jobs::text, E'\\n') FROM warren.jobs"),
		"consumers: "+w.sql(t, "SELECT coalesce(string_agg(consumers::text, E'\\n'), '') FROM warren.consumers"))
	for _, text := range said {
		if at := strings.Index(text, canary); at >= 0 {
			head, _, _ := strings.Cut(text, "\n")
			t.Errorf("%.120s\nsays … %q …", head, text[max(0, at-150):min(len(text), at+60)])
		}
	}
	if len(metrics) < 1000 || !strings.Contains(strings.Join(said, "\n"), "boom") {
		t.Error("there was nothing to look through")
	}
}
