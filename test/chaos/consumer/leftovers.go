package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// held is what a process can forget to give back.
type held struct{ goroutines, descriptors int }

// warm makes the runtime start what it keeps from the first signal and the first connection on.
func warm() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	signal.Stop(c)
	if l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close() // nobody has used it
	}
}

func now() held {
	h := held{goroutines: runtime.NumGoroutine()}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		h.descriptors = len(open)
	}
	return h
}

// leftovers fails when more is held than before the consumer was made: every fault of the suite has
// gone through it, and none may cost it a goroutine, a connection or a file.
func leftovers(before held) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.Now().Add(5 * time.Second)
	var after held
	for time.Now().Before(deadline) {
		if after = now(); after.goroutines <= before.goroutines && after.descriptors <= before.descriptors {
			return nil
		}
		<-again.C
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return fmt.Errorf("LEAK: %d goroutines and %d descriptors, before the consumer %d and %d\n%s",
		after.goroutines, after.descriptors, before.goroutines, before.descriptors, stacks)
}
