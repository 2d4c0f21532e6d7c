package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitServer is a RabbitMQ node of one test, with the management plugin and the default user
// guest. Its methods fail the test when they cannot do what they say; they return only when it is
// done.
type RabbitServer struct {
	tb   testing.TB
	core *rabbitCore
}

// NewRabbitMQ starts a RabbitMQ node and stops it at the test's end.
func NewRabbitMQ(tb testing.TB) *RabbitServer {
	tb.Helper()
	needServers(tb, "RabbitMQ")
	core, err := startRabbit(tb.Context())
	if err != nil {
		tb.Fatalf("start a RabbitMQ server: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of RabbitMQ's log:\n%s", tail(core.logFile()))
		}
		if err := core.discard(context.Background()); err != nil {
			tb.Errorf("stop RabbitMQ: %v", err)
		}
	})
	return &RabbitServer{tb: tb, core: core}
}

// URL is the node's AMQP URL for an administrator, in the default vhost.
func (s *RabbitServer) URL() string { return s.core.amqpURL() }

// ManagementURL is the base of the management API, with the administrator's name and password.
func (s *RabbitServer) ManagementURL() string { return s.core.managementURL() }

// Addr is where the node listens for AMQP, as net.Dial takes it.
func (s *RabbitServer) Addr() string { return s.core.amqp.addr() }

// LogFile is the path of the node's log.
func (s *RabbitServer) LogFile() string { return s.core.logFile() }

// Kill ends the node with SIGKILL. What it has confirmed stays on disk.
func (s *RabbitServer) Kill() { s.must("kill RabbitMQ", (*rabbitCore).kill) }

// Start starts a node that was killed or stopped, on its old address with its old data, and
// returns when it takes connections.
func (s *RabbitServer) Start() { s.must("start RabbitMQ", (*rabbitCore).start) }

// Stop ends the node in order.
func (s *RabbitServer) Stop() { s.must("stop RabbitMQ", (*rabbitCore).stop) }

// Restart is Stop and Start.
func (s *RabbitServer) Restart() {
	s.tb.Helper()
	s.Stop()
	s.Start()
}

// Wipe kills the node, removes everything it knew (messages, queues, users, policies), and starts
// it again on the old address.
func (s *RabbitServer) Wipe() { s.must("wipe RabbitMQ", (*rabbitCore).wipe) }

// Freeze stops the node without ending it: connections stay open and silent.
func (s *RabbitServer) Freeze() {
	s.must("freeze RabbitMQ", func(r *rabbitCore, ctx context.Context) error { return r.proc.freeze(ctx) })
}

// Thaw undoes Freeze.
func (s *RabbitServer) Thaw() {
	s.must("thaw RabbitMQ", func(r *rabbitCore, _ context.Context) error { return r.proc.signal(syscall.SIGCONT) })
}

// Ctl runs rabbitmqctl against the node and returns what it printed.
func (s *RabbitServer) Ctl(args ...string) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := runCtl(ctx, s.core.ctl(), args)
		if err == nil {
			return out
		}
		// A node takes connections a moment before it counts as started.
		if !strings.Contains(err.Error(), "requires the 'rabbit' app to be running") || ctx.Err() != nil {
			s.tb.Fatal(err)
		}
		<-tick.C
	}
}

// must runs one step within the package's patience and fails the test if it does not work.
func (s *RabbitServer) must(what string, step func(*rabbitCore, context.Context) error) {
	s.tb.Helper()
	// Cleanups stop and thaw servers too, and by then the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := step(s.core, ctx); err != nil {
		s.tb.Fatalf("%s: %v", what, err)
	}
}

// rabbitCore is a node without a test: it returns errors. Not for concurrent use.
//
// It has an epmd (Erlang's name server) of its own, because one that rabbitmq-server started would
// outlive it, and one that runs already is somebody else's.
type rabbitCore struct {
	bin, epmdBin                 string
	home                         *dir
	amqp, management, dist, epmd *port
	env                          []string
	epmdProc, proc               *process
}

// startRabbit makes a node and starts it.
func startRabbit(ctx context.Context) (*rabbitCore, error) {
	bin, epmd, err := rabbitBinaries(ctx) // may install packages, which has a patience of its own
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := &rabbitCore{bin: bin, epmdBin: epmd}
	if r.home, err = newDir("rabbitmq"); err != nil {
		return nil, err
	}
	if err := r.initialize(ctx); err != nil {
		return nil, errors.Join(err, r.discard(ctx))
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.discard(ctx))
	}
	return r, nil
}

// initialize chooses ports, writes the configuration and the ctl script, and starts epmd.
func (r *rabbitCore) initialize(ctx context.Context) error {
	for _, p := range []**port{&r.amqp, &r.management, &r.dist, &r.epmd} {
		var err error
		if *p, err = reservePort(); err != nil {
			return err
		}
	}
	for _, name := range []string{"home", "mnesia", "log", "schema"} {
		if err := os.Mkdir(r.home.join(name), 0o700); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf(`listeners.tcp.1 = %s
management.tcp.ip = 127.0.0.1
management.tcp.port = %d
loopback_users.guest = true
vm_memory_high_watermark.absolute = 512MiB
disk_free_limit.absolute = 50MB
`, r.amqp.addr(), r.management.number)
	r.env = r.environment()
	if err := errors.Join(
		r.home.write("rabbitmq.conf", conf, 0o600),
		r.home.write("enabled_plugins", "[rabbitmq_management].\n", 0o600),
		r.home.write("rabbitmq-env.conf", "", 0o600),
		r.home.write("home/.erlang.cookie", "WARRENTESTENV"+strconv.Itoa(r.epmd.number), 0o400),
		r.home.write("rabbitmqctl", r.ctlScript(), 0o700),
	); err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), r.epmdBin, "-port", strconv.Itoa(r.epmd.number), "-address", "127.0.0.1")
	cmd.Dir, cmd.Env = "/", r.env
	var err error
	r.epmdProc, err = startProcess(ctx, r.home, "epmd", cmd, nil)
	return err
}

// environment is what the server's and rabbitmqctl's scripts are told: every path and port of the
// system-wide installation is replaced.
func (r *rabbitCore) environment() []string {
	path := r.home.join
	return cleanEnv(
		"HOME="+path("home"),
		"RABBITMQ_NODENAME="+filepath.Base(r.home.path)+"@localhost",
		"RABBITMQ_CONF_ENV_FILE="+path("rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE="+path("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+path("advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+path("enabled_plugins"),
		"RABBITMQ_BASE="+r.home.path,
		"RABBITMQ_MNESIA_BASE="+path("mnesia"),
		"RABBITMQ_LOG_BASE="+path("log"),
		"RABBITMQ_LOGS="+r.logFile(),
		"RABBITMQ_SCHEMA_DIR="+path("schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+path("schema"),
		"RABBITMQ_PID_FILE="+path("pid"),
		"RABBITMQ_FEATURE_FLAGS_FILE="+path("feature_flags"),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(r.dist.number),
		"ERL_EPMD_PORT="+strconv.Itoa(r.epmd.number),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_CRASH_DUMP_SECONDS=0",
		// One scheduler that does not spin: tests run beside it.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
		"RABBITMQ_CTL_ERL_ARGS=+sbwt none",
		// With this the start script becomes the node (exec) instead of waiting for it, so that
		// signals, the parent-death signal among them, reach the node.
		"RUNNING_UNDER_SYSTEMD=true",
	)
}

// ctlScript runs rabbitmqctl with the node's environment, for this process, for those that
// with-servers starts, and for a person who looks at a test that hangs.
func (r *rabbitCore) ctlScript() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nexec env -i")
	for _, variable := range r.env {
		b.WriteString(" '" + variable + "'")
	}
	b.WriteString(" '" + filepath.Join(r.bin, "rabbitmqctl") + "' \"$@\"\n")
	return b.String()
}

func (r *rabbitCore) ctl() string     { return "/bin/sh " + r.home.join("rabbitmqctl") }
func (r *rabbitCore) logFile() string { return r.home.join("log", "rabbit.log") }
func (r *rabbitCore) outFile() string { return r.home.join("log", "out") }

func (r *rabbitCore) amqpURL() string { return "amqp://guest:guest@" + r.amqp.addr() + "/%2F" }

func (r *rabbitCore) managementURL() string { return "http://guest:guest@" + r.management.addr() }

func (r *rabbitCore) access() access {
	return access{amqpURL: r.amqpURL(), managementURL: r.managementURL(), ctl: r.ctl()}
}

// start runs the node and waits until it takes connections and its management API answers.
func (r *rabbitCore) start(ctx context.Context) error {
	if r.proc.alive() {
		return fmt.Errorf("%s is running already", r.proc.label())
	}
	out, err := os.OpenFile(r.outFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(r.bin, "rabbitmq-server"))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", r.env, out, out
	if r.proc, err = startProcess(ctx, r.home, "rabbitmq-server", cmd, nil); err != nil {
		return err
	}
	for _, ready := range []func(context.Context) error{r.pingAMQP, r.pingManagement} {
		if err := poll(ctx, r.proc.done, ready); err != nil {
			return fmt.Errorf("wait for %s to take connections: %w\nits output and the end of its log:\n%s\n%s",
				r.proc.label(), err, tail(r.outFile()), tail(r.logFile()))
		}
	}
	return nil
}

// pingAMQP logs in once.
func (r *rabbitCore) pingAMQP(context.Context) error {
	conn, err := amqp.DialConfig(r.amqpURL(), amqp.Config{Dial: amqp.DefaultDial(5 * time.Second)})
	if err != nil {
		return err
	}
	return conn.Close()
}

// pingManagement asks the management API who we are.
func (r *rabbitCore) pingManagement(ctx context.Context) error {
	api, err := newManagement(r.managementURL())
	if err != nil {
		return err
	}
	return api.call(ctx, http.MethodGet, nil, "whoami")
}

func (r *rabbitCore) kill(ctx context.Context) error {
	if !r.proc.alive() {
		return fmt.Errorf("%s is not running", r.proc.label())
	}
	return r.proc.kill(ctx)
}

func (r *rabbitCore) stop(ctx context.Context) error {
	if !r.proc.alive() {
		return fmt.Errorf("%s is not running", r.proc.label())
	}
	return r.proc.end(ctx, syscall.SIGTERM)
}

func (r *rabbitCore) wipe(ctx context.Context) error {
	if err := r.proc.kill(ctx); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(r.home.join("mnesia")), os.RemoveAll(r.home.join("feature_flags"))); err != nil {
		return err
	}
	return r.start(ctx)
}

// discard ends the node and its epmd, and removes its data, even when ctx has ended.
func (r *rabbitCore) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	errs := []error{r.proc.kill(ctx), r.epmdProc.kill(ctx)}
	for _, p := range []*port{r.amqp, r.management, r.dist, r.epmd} {
		p.release()
	}
	return errors.Join(append(errs, r.home.remove())...)
}

// runCtl runs a rabbitmqctl command line with more arguments and returns what it printed.
func runCtl(ctx context.Context, commandLine string, args []string) (string, error) {
	words := strings.Fields(commandLine)
	if len(words) == 0 {
		return "", fmt.Errorf("rabbitmqctl %s: %s is not set beside %s", strings.Join(args, " "), EnvRabbitCtl, EnvAMQPURL)
	}
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], args...)...)
	var out, complaint bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), complaint.String())
	}
	return out.String(), nil
}

// vhostURL is an AMQP URL with another user and vhost.
func vhostURL(base, name, password, vhost string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("%s is no URL: %w", EnvAMQPURL, err)
	}
	u.User, u.Path, u.RawPath = url.UserPassword(name, password), "/"+vhost, ""
	return u.String(), nil
}
