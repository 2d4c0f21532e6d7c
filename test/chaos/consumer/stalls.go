package main

import (
	"fmt"
	"os"
	"time"
)

// beat is how often the process looks whether it runs at all, and late from when on it says that it
// did not.
const (
	beat = 10 * time.Millisecond
	late = 100 * time.Millisecond
)

// watchStalls writes down when this process could not run: a promise about processes that are not
// paused says nothing about one that the machine gave no time. A line is "pid from to", in
// nanoseconds. It goes on while the process drains, and ends with it.
func watchStalls(path string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // every line is a write of its own
	tick := time.NewTicker(beat)
	defer tick.Stop()
	last := time.Now()
	for range tick.C {
		now := time.Now()
		if now.Sub(last) > late {
			_, _ = fmt.Fprintf(f, "%d %d %d\n", os.Getpid(), last.UnixNano(), now.UnixNano())
		}
		last = now
	}
}
