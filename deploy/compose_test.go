package deploy_test

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/warrenq/warren/internal/config"
)

func composeFile(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithInterpolation(true), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// settings is deploy/warren.yaml, which everything here is given.
func settings(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Sources{ConfigPath: "warren.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// consumers are the services that run the image's own entrypoint.
func consumers(project *types.Project) map[string]types.ServiceConfig {
	out := map[string]types.ServiceConfig{}
	for name, s := range project.Services {
		if s.Image == "warren:local" && s.Entrypoint == nil {
			out[name] = s
		}
	}
	return out
}

// after returns the word that follows a flag.
func after(t *testing.T, words []string, flag string) string {
	t.Helper()
	i := slices.Index(words, flag)
	if i < 0 || i+1 == len(words) {
		t.Fatalf("%v has no %s", words, flag)
	}
	return words[i+1]
}

// What starts after what, how it is watched, and what it may do.
func TestComposeServices(t *testing.T) {
	t.Parallel()
	project, cfg := composeFile(t), settings(t)
	for _, name := range []string{"postgres", "rabbitmq"} {
		s, ok := project.Services[name]
		if !ok || s.HealthCheck == nil || len(s.HealthCheck.Test) == 0 {
			t.Errorf("%s is not there, or has no health check", name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s shows port %s to others, with a password that everybody knows", name, port.Published)
			}
		}
	}
	migrate := project.Services["migrate"]
	if d := migrate.DependsOn["postgres"]; d.Condition != types.ServiceConditionHealthy {
		t.Errorf("migrate begins when postgres is %q", d.Condition)
	}
	all := consumers(project)
	if len(all) != 3 {
		t.Errorf("%d consumers, want three", len(all))
	}
	for name, s := range all {
		if s.DependsOn["migrate"].Condition != types.ServiceConditionCompletedSuccessfully || s.DependsOn["rabbitmq"].Condition != types.ServiceConditionHealthy {
			t.Errorf("%s depends on %v", name, s.DependsOn)
		}
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= cfg.DrainTimeout {
			t.Errorf("%s is killed after %v, within its drain of %s", name, s.StopGracePeriod, cfg.DrainTimeout)
		}
		if s.HealthCheck == nil || s.Restart == "" {
			t.Errorf("%s is not watched", name)
		}
	}
	for name, s := range project.Services {
		if s.Image != "warren:local" {
			continue
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may do more than it needs", name)
		}
		for _, variable := range []string{"DATABASE_URL", "AMQP_URL"} {
			value := s.Environment[variable]
			if value == nil {
				t.Errorf("%s has no %s", name, variable)
				continue
			}
			if u, err := url.Parse(*value); err != nil || project.Services[u.Hostname()].Name == "" {
				t.Errorf("%s: %s leads to no service (%v)", name, variable, err)
			}
		}
		if len(s.Volumes) != 1 || s.Volumes[0].Target != "/etc/warren/warren.yaml" || !s.Volumes[0].ReadOnly ||
			!strings.HasSuffix(s.Volumes[0].Source, "/deploy/warren.yaml") {
			t.Errorf("%s mounts %v", name, s.Volumes)
		}
	}
}

// Every configured priority is taken by exactly one of the consumers.
func TestComposeRanges(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	taken := map[int]string{}
	for name, s := range consumers(composeFile(t)) {
		take, err := config.ParseRange(after(t, s.Command, "-p"), cfg.Priorities)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range take {
			if other, twice := taken[p]; twice {
				t.Errorf("priority %d is taken by %s and %s", p, name, other)
			}
			taken[p] = name
		}
	}
	if len(taken) != len(cfg.Priorities) {
		t.Errorf("taken: %v, configured: %v", taken, cfg.Priorities)
	}
}

// The commands of all services, as processes: the schema, three consumers, a job of each priority
// run where it belongs, healthy while they run, exit 0 when they are stopped.
func TestComposeRuns(t *testing.T) {
	t.Parallel()
	project, cfg := composeFile(t), settings(t)
	p := newPlace(t)
	migrate := project.Services["migrate"]
	p.run(t, slices.Concat(migrate.Entrypoint, migrate.Command)...)

	running := map[string]*service{}
	take := map[string][]int{}
	for name, s := range consumers(project) {
		port := after(t, s.Command, "--listen")
		words := slices.Clone([]string(s.Command))
		words[slices.Index(words, port)] = "0" // each container has ports of its own; processes share them
		running[name] = p.start(t, append([]string{installed + "consumer"}, words...))
		check := slices.Clone([]string(s.HealthCheck.Test))
		if check[0] != "CMD" || !slices.Contains(check, port) {
			t.Fatalf("%s: the health check %v does not ask port %s", name, check, port)
		}
		check[slices.Index(check, port)] = running[name].says(t, `"listen":"([^"]+)"`)
		if out := p.run(t, check[1:]...); out != "ok" {
			t.Errorf("%s: the health check says %q", name, out)
		}
		var err error
		if take[name], err = config.ParseRange(after(t, s.Command, "-p"), cfg.Priorities); err != nil {
			t.Fatal(err)
		}
	}
	for _, priority := range cfg.Priorities {
		p.run(t, installed+"producer", "publish", "probe", "--priority", strconv.Itoa(priority))
	}
	conn := connect(t, p.dsn)
	awaitNumber(t, conn, len(cfg.Priorities), "SELECT count(*) FROM warren.jobs WHERE state = 'FINISHED'")
	for name, s := range running {
		awaitNumber(t, conn, len(take[name]), "SELECT count(*) FROM warren.jobs WHERE pid = $1 AND priority = ANY ($2)", s.cmd.Process.Pid, take[name])
		s.stop(t)
	}
}
