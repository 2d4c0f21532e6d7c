package cli

import (
	"fmt"
	"runtime/debug"
)

// version is set by the linker for a release.
//
//nolint:gochecknoglobals // the linker can only write a package variable
var version = ""

// Version is the program's own version: the release, or what the Go toolchain noted.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return fmt.Sprintf("devel-%s", s.Value[:12])
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}
