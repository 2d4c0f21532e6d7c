package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time since this machine booted, including time it was suspended, which Go's
// monotonic clock leaves out. Leases are measured on it: a lease expires while its holder sleeps.
func bootTime() time.Duration {
	var ts unix.Timespec
	// The call fails only for a clock that the kernel lacks, and Linux has had this one since 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
