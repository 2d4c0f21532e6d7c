package testenv

import (
	"os/exec"
	"testing"
)

// Program returns the path of a program that a test runs. As root on Debian it installs the package
// that has it when it is not there.
func Program(tb testing.TB, name, pkg string) string {
	tb.Helper()
	needServers(tb, name)
	path, err := installed(tb.Context(), name, []string{pkg}, func() string {
		path, err := exec.LookPath(name)
		if err != nil {
			return ""
		}
		return path
	})
	if err != nil {
		tb.Fatalf("%v; %s is in the package %s", err, name, pkg)
	}
	return path
}
