package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

const patience = 30 * time.Second

// What a process of these tests does, by the value of this variable; the file follows in another.
const (
	roleVar = "WARREN_SQLITE_TEST_ROLE"
	fileVar = "WARREN_SQLITE_TEST_FILE"
)

// play is a child process: it does its role until it is killed, and says what it has done.
func play(role, path string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Migrate(ctx); err != nil {
		return err
	}
	switch role {
	case "migrate":
		return nil
	case "insert":
		return insertForEver(ctx, s)
	}
	return consumeForEver(ctx, s)
}

// insertForEver prints the number of each job once it is acknowledged, from several goroutines.
func insertForEver(ctx context.Context, s *sqlite.Store) error {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				got, err := s.Insert(ctx, []jobstore.NewJob{job(), job()})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				fmt.Printf("%d\n%d\n", got[0].ID, got[1].ID)
			}
		})
	}
	wg.Wait()
	return errors.New("nobody has killed this process")
}

// consumeForEver registers, claims what there is, prints how much that was, and works on it for ever.
func consumeForEver(ctx context.Context, s *sqlite.Store) error {
	c := jobstore.Consumer{Host: "child", PID: os.Getpid(), Kinds: []string{"k"}, Queues: []string{"default"}, Priorities: []int{10}}
	id, err := s.Register(ctx, c, time.Hour)
	if err != nil {
		return err
	}
	got, err := s.ClaimNext(ctx, jobstore.Claimant{Holder: id, Kinds: c.Kinds, Queues: c.Queues, Priorities: c.Priorities}, 10)
	if err != nil {
		return err
	}
	fmt.Println(len(got))
	_, err = io.Copy(io.Discard, os.Stdin) // until its parent goes away
	return err
}

// child starts this test binary in a role. It is killed when the test ends.
func child(t *testing.T, role, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role, fileVar+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// A process that is killed in the middle of inserts leaves a good file, with all that it was told
// is stored.
func TestKilledProducer(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		path := filepath.Join(t.TempDir(), "warren.db")
		cmd, lines := child(t, "insert", path)
		var told []jobstore.ID
		for lines.Scan() {
			id, err := strconv.Atoi(lines.Text())
			if err != nil {
				break // cut off by the kill
			}
			told = append(told, jobstore.ID(id))
			if len(told) == 50*(round+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		s := open(t, path)
		for _, id := range told {
			if j, err := s.Get(t.Context(), id); err != nil || j.State != jobstore.Ready {
				t.Fatalf("job %d was acknowledged before the kill: %+v, %v", id, j, err)
			}
		}
		db := connect(t, path)
		if ok := number(t, db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"); ok != 1 {
			t.Error("the file is damaged")
		}
		if n := number(t, db, "SELECT count(*) FROM jobs"); n%2 != 0 || int(n) < len(told) {
			t.Errorf("there are %d jobs, of which %d were acknowledged; each call inserts two", n, len(told))
		}
	}
}

// One process consumes a file. When it is killed, the next one gets its jobs at once, though the
// lease was for an hour.
func TestOneConsumer(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job(), job(), job()}); err != nil {
		t.Fatal(err)
	}
	cmd, lines := child(t, "consume", path)
	if !lines.Scan() || lines.Text() != "3" {
		t.Fatalf("the child claimed %q", lines.Text())
	}
	_, err := s.Register(t.Context(), jobstore.Consumer{}, time.Hour)
	if !errors.Is(err, jobstore.ErrRefused) {
		t.Errorf("a second consumer: %v", err)
	}
	wantError(t, err, fmt.Sprintf("another consumer works on %s (process %d): only one may; stop it first, or use PostgreSQL", path, cmd.Process.Pid))
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil {
		t.Errorf("a producer beside it: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // which says that it was killed
	by := register(t, s)
	register(t, s) // the same store may register again
	r, err := s.Rescue(t.Context(), 100, 3)
	if err != nil || len(r.Released) != 3 || r.Consumers != 1 {
		t.Fatalf("the rescue: %+v, %v", r, err)
	}
	if got := pass(t, s, by, 10); got != 4 {
		t.Errorf("%d jobs were run", got)
	}
	other := open(t, path) // another store in this process is another consumer
	if _, err := other.Register(t.Context(), jobstore.Consumer{}, time.Hour); !errors.Is(err, jobstore.ErrRefused) {
		t.Errorf("another store: %v", err)
	}
	s.Close()
	if _, err := other.Register(t.Context(), jobstore.Consumer{}, time.Hour); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// Ten processes that start at once make one schema.
func TestMigrateByManyProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "warren.db")
	var all []*exec.Cmd
	for range 10 {
		cmd, _ := child(t, "migrate", path)
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a process that migrates: %v", err)
		}
	}
	if err := open(t, path).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A commit of another connection wakes who listens, though nobody calls Wake.
func TestListenToOthers(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	woken, ended := make(chan struct{}, 1), make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		ended <- s.Listen(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	db := connect(t, path)
	for heard := false; !heard; {
		run(t, db, "INSERT INTO jobs (kind) VALUES ('k')") // the first may be before the listener has begun
		select {
		case <-woken:
			heard = true
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("in vain: %v", err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("listen ended with %v", err)
	}
}
