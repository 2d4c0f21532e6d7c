package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release.
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
			return "devel-" + s.Value[:12]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}

// about is what other programs may want to know of this one.
type about struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	System  string `json:"system"`
	API     string `json:"api"` // where the HTTP API begins
}

func versionCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print this program's version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			me := about{Version: Version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, API: "/api/v1"}
			switch f {
			case formatJSON:
				return printJSON(env.Stdout, me)
			case formatLines:
				return json.NewEncoder(env.Stdout).Encode(me)
			case formatTable:
			}
			_, err = fmt.Fprintf(env.Stdout, "warren %s, %s, %s\n", me.Version, me.Go, me.System)
			return err
		},
	}
	addOutputFlag(cmd)
	return cmd
}
