package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// cluster is a broker of three nodes with an epmd of its own.
type cluster struct {
	dir   string
	epmd  *process
	nodes []*node
}

// node is one of them.
type node struct {
	name string
	dir  string
	addr string
	bin  string
	env  []string
	proc *process
}

func (n *node) url() string { return "amqp://guest:guest@" + n.addr + "/%2F" }

// rabbitScripts are where Debian's package has the server's own scripts: the wrappers in the path change user
// and directory.
const rabbitScripts = "/usr/lib/rabbitmq/bin"

// startCluster starts three nodes that find each other. It must be called after a single node was
// started by package testenv, which installs what is missing.
func startCluster(ctx context.Context, dir string) (c *cluster, err error) {
	c = &cluster{dir: dir}
	ports := freePorts(7)
	tag := "warrenchaos" + strconv.Itoa(ports[0])
	var peers []string
	for i := range 3 {
		peers = append(peers, fmt.Sprintf("cluster_formation.classic_config.nodes.%d = %s%d@localhost", i+1, tag, i))
	}
	for i := range 3 {
		n, err := newNode(dir, tag+strconv.Itoa(i), ports[1+2*i], ports[2+2*i], ports[0], peers)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	epmd, err := exec.LookPath("epmd")
	if err != nil {
		return nil, err
	}
	if c.epmd, err = startProcess(dir, "epmd", epmd, c.nodes[0].env, "-port", strconv.Itoa(ports[0]), "-address", "127.0.0.1"); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			c.close()
			return nil, err
		}
	}
	for _, n := range c.nodes {
		if !until(ctx, 3*time.Minute, n.up) {
			c.close()
			return nil, fmt.Errorf("node %s did not come up; see %s", n.name, n.dir)
		}
	}
	if !until(ctx, time.Minute, func() bool {
		var status struct {
			Running []string `json:"running_nodes"`
		}
		out, err := c.nodes[0].ctl(ctx, "-q", "cluster_status", "--formatter", "json")
		return err == nil && json.Unmarshal([]byte(out), &status) == nil && len(status.Running) == len(c.nodes)
	}) {
		c.close()
		return nil, errors.New("the three nodes did not become one cluster")
	}
	return c, nil
}

// freePorts finds ports below the range of outgoing connections.
func freePorts(n int) (ports []int) {
	for port := 24000 + os.Getpid()%1500; len(ports) < n; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)) //nolint:noctx // a listen on an address does not wait
		if err == nil {
			ports = append(ports, port)
			_ = l.Close() // it was only to see
		}
	}
	return ports
}

func newNode(base, name string, port, dist, epmd int, peers []string) (*node, error) {
	n := &node{name: name, dir: filepath.Join(base, name), addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), bin: rabbitScripts}
	for _, sub := range []string{"home", "mnesia", "log", "schema"} {
		if err := os.MkdirAll(filepath.Join(n.dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	conf := "listeners.tcp.1 = " + n.addr + "\nloopback_users.guest = true\nvm_memory_high_watermark.absolute = 512MiB\n" +
		"disk_free_limit.absolute = 50MB\ncluster_formation.peer_discovery_backend = classic_config\n" + strings.Join(peers, "\n") + "\n" +
		"cluster_partition_handling = pause_minority\n"
	path := func(elements ...string) string { return filepath.Join(append([]string{n.dir}, elements...)...) }
	for file, text := range map[string]string{
		"rabbitmq.conf": conf, "enabled_plugins": "[].\n", "rabbitmq-env.conf": "", "home/.erlang.cookie": "WARRENCHAOS" + strconv.Itoa(epmd),
		"advanced.config": "[{kernel, [{net_ticktime, 10}]}].\n",
	} {
		if err := os.WriteFile(path(file), []byte(text), 0o400); err != nil {
			return nil, err
		}
	}
	n.env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + path("home"), "RABBITMQ_NODENAME=" + name + "@localhost",
		"RABBITMQ_CONF_ENV_FILE=" + path("rabbitmq-env.conf"), "RABBITMQ_CONFIG_FILE=" + path("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + path("advanced.config"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + path("enabled_plugins"),
		"RABBITMQ_BASE=" + n.dir, "RABBITMQ_MNESIA_BASE=" + path("mnesia"), "RABBITMQ_LOG_BASE=" + path("log"), "RABBITMQ_LOGS=" + path("log", "rabbit.log"),
		"RABBITMQ_SCHEMA_DIR=" + path("schema"), "RABBITMQ_GENERATED_CONFIG_DIR=" + path("schema"), "RABBITMQ_PID_FILE=" + path("pid"),
		"RABBITMQ_FEATURE_FLAGS_FILE=" + path("feature_flags"), "RABBITMQ_DIST_PORT=" + strconv.Itoa(dist),
		"ERL_EPMD_PORT=" + strconv.Itoa(epmd), "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_CRASH_DUMP_SECONDS=0", "RUNNING_UNDER_SYSTEMD=true",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
		"RABBITMQ_CTL_ERL_ARGS=+sbwt none",
	}
	return n, nil
}

func (n *node) start() (err error) {
	n.proc, err = startProcess(n.dir, n.name, filepath.Join(n.bin, "rabbitmq-server"), n.env)
	return err
}

// up reports whether a client can log in.
func (n *node) up() bool {
	conn, err := amqp.DialConfig(n.url(), amqp.Config{Dial: amqp.DefaultDial(3 * time.Second)})
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func (n *node) ctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(n.bin, "rabbitmqctl"), args...)
	cmd.Dir, cmd.Env = "/", n.env
	out, err := cmd.Output()
	return string(out), err
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		if n.proc != nil {
			n.proc.kill()
		}
	}
	c.epmd.kill()
}
