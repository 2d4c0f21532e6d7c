package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// remedy ends every error about a missing server.
const remedy = "install the Debian packages postgresql, rabbitmq-server and pgbouncer, or run as root on Debian " +
	"so that they are installed, or name servers for tests in " + EnvDatabaseURL + " (a superuser's DSN), " +
	EnvAMQPURL + ", " + EnvManagementURL + " and " + EnvRabbitCtl

// postgresBinaries is the directory of the newest installed PostgreSQL server.
func postgresBinaries(ctx context.Context) (string, error) {
	return installed(ctx, "PostgreSQL", serverPackages(), func() string {
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
		if err != nil || len(found) == 0 {
			found = onPath("postgres")
		}
		if len(found) == 0 {
			return ""
		}
		slices.SortFunc(found, func(a, b string) int { return debianVersion(a) - debianVersion(b) })
		bin := filepath.Dir(found[len(found)-1])
		if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
			return ""
		}
		return bin
	})
}

// debianVersion is the 15 of /usr/lib/postgresql/15/bin/postgres.
func debianVersion(path string) int {
	version, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	if err != nil {
		return 0
	}
	return version
}

// rabbitBinaries is the directory of rabbitmq-server's own scripts, and the path of epmd. The
// scripts of the same names in /usr/sbin change user and directory.
func rabbitBinaries(ctx context.Context) (bin, epmd string, err error) {
	bin, err = installed(ctx, "RabbitMQ", serverPackages(), func() string {
		const scripts = "/usr/lib/rabbitmq/bin"
		if _, err := os.Stat(filepath.Join(scripts, "rabbitmq-server")); err != nil {
			return ""
		}
		return scripts
	})
	if err != nil {
		return "", "", err
	}
	found := slices.Concat(onPath("epmd"), []string{"/usr/lib/erlang/bin/epmd"})
	return bin, found[0], nil
}

// pgbouncerBinary is the path of pgbouncer.
func pgbouncerBinary(ctx context.Context) (string, error) {
	return installed(ctx, "pgbouncer", serverPackages(), func() string {
		for _, path := range slices.Concat(onPath("pgbouncer"), []string{"/usr/sbin/pgbouncer"}) {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
		return ""
	})
}

// onPath finds a program as a shell would.
func onPath(name string) []string {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil
	}
	return []string{path}
}

// installed returns what find finds, after installing the packages if it finds nothing.
func installed(ctx context.Context, what string, packages []string, find func() string) (string, error) {
	if path := find(); path != "" {
		return path, nil
	}
	if err := installPackages(ctx, packages); err != nil {
		return "", fmt.Errorf("%s is not installed, and %w; %s", what, err, remedy)
	}
	if path := find(); path != "" {
		return path, nil
	}
	return "", errors.New(what + " is not where Debian's package puts it, though the package is installed; " + remedy)
}
