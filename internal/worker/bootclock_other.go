//go:build !linux

package worker

import "time"

//nolint:gochecknoglobals // the origin of a monotonic clock has to be fixed once a process
var processStart = time.Now()

// bootTime is Go's monotonic clock where there is no better one. It may stand still while the
// machine is suspended; the database's fence still holds then.
func bootTime() time.Duration { return time.Since(processStart) }
