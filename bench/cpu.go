package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// stat is what /proc/PID/stat says that matters here.
type stat struct {
	pid, parent int
	program     string
	cpu         time.Duration // its own, and that of its children that have ended
}

// cpuTime is what this process and those of its servers that are named have used so far. Servers are children of this
// process; their own children count with them.
func cpuTime(programs []string) (time.Duration, error) {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, fmt.Errorf("read the CPU time of this process: %w", err)
	}
	total := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	all, err := processes()
	if err != nil {
		return 0, err
	}
	var wanted []int
	for _, s := range all {
		if s.parent == os.Getpid() && slices.Contains(programs, s.program) {
			wanted = append(wanted, s.pid)
		}
	}
	if len(wanted) < len(programs) {
		return 0, fmt.Errorf("%d of the servers %s were found in /proc; are all of them running?", len(wanted), strings.Join(programs, ", "))
	}
	for len(wanted) > 0 {
		pid := wanted[0]
		wanted = wanted[1:]
		for _, s := range all {
			if s.pid == pid {
				total += s.cpu
			}
			if s.parent == pid {
				wanted = append(wanted, s.pid)
			}
		}
	}
	return total, nil
}

func processes() ([]stat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("CPU times are read from /proc, which this system does not have: %w", err)
	}
	var all []stat
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // a path that the kernel named
		if err != nil {
			continue // it has ended
		}
		s, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// parseStat reads the text of /proc/PID/stat. The program's name is in brackets and may hold anything.
func parseStat(text string) (stat, error) {
	open, shut := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return stat{}, fmt.Errorf("%q is no process status", text)
	}
	fields := strings.Fields(text[shut+1:])
	const parent, firstTime, lastTime = 1, 11, 14 // utime, stime, cutime, cstime
	if len(fields) <= lastTime {
		return stat{}, fmt.Errorf("%q has too few fields", text)
	}
	s := stat{program: text[open+1 : shut]}
	var err error
	if s.pid, err = strconv.Atoi(strings.TrimSpace(text[:open])); err != nil {
		return stat{}, err
	}
	if s.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return stat{}, err
	}
	for _, field := range fields[firstTime : lastTime+1] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return stat{}, err
		}
		s.cpu += time.Duration(ticks) * tick
	}
	return s, nil
}
