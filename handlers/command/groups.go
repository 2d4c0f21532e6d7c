package command

import "sync"

// living are the groups of the programs that this process runs.
var living groups //nolint:gochecknoglobals // as there is one process

type groups struct {
	mu   sync.Mutex
	pids map[int]bool
}

// add takes a group in until ended is called, which is after the group was killed.
func (g *groups) add(pid int) (ended func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pids == nil {
		g.pids = map[int]bool{}
	}
	g.pids[pid] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.pids, pid)
	}
}

// KillAll ends the programs that still run, with all that they started. It is for a process that is about to end without
// waiting for its handlers, as a consumer does that was told twice: their jobs have been handed back, and will run
// elsewhere. The kernel would end the programs only, and on Linux only, and not what they have started.
func KillAll() {
	living.mu.Lock()
	defer living.mu.Unlock()
	for pid := range living.pids {
		killGroup(pid)
	}
}
