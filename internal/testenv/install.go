package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// installLock has one process at a time install packages.
	installLock = "/run/warren-testenv-install.lock"
	// policyFile is what Debian's packages ask before they start a service.
	policyFile = "/usr/sbin/policy-rc.d"
	// installPatience bounds the installation: a slow mirror counts, not this machine.
	installPatience = 10 * time.Minute
)

// serverPackages are Debian's names for what this package starts.
func serverPackages() []string { return []string{"postgresql", "rabbitmq-server", "pgbouncer"} }

// installPackages installs packages on Debian as root, without having any service started.
func installPackages(ctx context.Context, packages []string) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can install it")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("this system has no apt-get to install it with")
	}
	// An installation outlives the wait for one server.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), installPatience)
	defer cancel()
	unlock, err := lockInstallation(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// A minute of silence would look like a test that hangs.
	_, _ = fmt.Fprintln(os.Stderr, "testenv: installing the packages", strings.Join(packages, ", "))
	restore, err := forbidServices(policyFile)
	if err != nil {
		return err
	}
	return errors.Join(aptInstall(ctx, packages...), restore())
}

// lockInstallation waits until no other process installs.
func lockInstallation(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(installLock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the lock of the installation: %w", err)
	}
	err = poll(ctx, nil, func(context.Context) error {
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for another process that installs packages (%s): %w", installLock, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// forbidServices has Debian's packages start nothing until restore is called. A policy that was
// there before is kept aside meanwhile; one that a killed run left aside is put back at the end.
func forbidServices(policy string) (restore func() error, err error) {
	aside := policy + ".before-warren-tests"
	if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(policy, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("put %s aside: %w", policy, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(policy), 0o755); err != nil { //nolint:gosec // a system directory
		return nil, err
	}
	const forbidden = "#!/bin/sh\n# Written by warren's tests while they install packages; safe to remove.\nexit 101\n"
	if err := os.WriteFile(policy, []byte(forbidden), 0o755); err != nil { //nolint:gosec // a program
		return nil, fmt.Errorf("write %s: %w", policy, err)
	}
	return func() error {
		err := os.Rename(aside, policy)
		if errors.Is(err, os.ErrNotExist) {
			err = os.Remove(policy)
		}
		if err != nil {
			return fmt.Errorf("restore %s: %w", policy, err)
		}
		return nil
	}, nil
}

// aptInstall installs packages, with a fresh list of packages when the present one will not do.
func aptInstall(ctx context.Context, packages ...string) error {
	install := append([]string{"install", "-y", "--no-install-recommends", "--no-upgrade"}, packages...)
	first := apt(ctx, install...)
	if first == nil {
		return nil
	}
	if err := apt(ctx, "update"); err != nil {
		return errors.Join(first, err)
	}
	return apt(ctx, install...)
}

func apt(ctx context.Context, args ...string) error {
	args = append([]string{"-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"}, args...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out[max(0, len(out)-4000):])
	}
	return nil
}
