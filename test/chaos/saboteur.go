package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/warrenq/warren/test/chaos/wire"
)

// mean is the mean time from one fault to the next.
const mean = 750 * time.Millisecond

// saboteur makes faults at random moments, which a seed repeats. Those that last go on beside the next ones,
// but never two at the same target.
type saboteur struct {
	w         *world
	producers []*producer
	rnd       *rand.Rand
	ttl       time.Duration

	mu       sync.Mutex
	busy     map[string]bool
	began    map[string][]time.Time // when faults of each kind did
	injected int                    // messages that are no hints
	failed   error
	lasting  sync.WaitGroup
}

// fault is a kind of fault.
type fault struct {
	name   string
	weight int // it is drawn so many times as often as one of weight 1
	// targets are what it needs for itself.
	targets func(rnd *rand.Rand) []string
	// strike breaks something, waits, and mends it.
	strike func(ctx context.Context, s *strike)
}

// strike is one fault at work, with random numbers of its own: others go on beside it, in no
// particular order.
type strike struct {
	*saboteur
	rnd     *rand.Rand
	targets []string
}

func newSaboteur(w *world, seed uint64) *saboteur {
	return &saboteur{
		w: w, rnd: rand.New(rand.NewPCG(seed, 2)), ttl: shortTTL, busy: map[string]bool{}, began: map[string][]time.Time{},
	}
}

// attack makes faults for a time, and returns when everything is mended.
func (s *saboteur) attack(ctx context.Context, faults []fault, lasts time.Duration) error {
	until, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	for until.Err() == nil {
		pause(until, time.Duration(s.rnd.ExpFloat64()*float64(mean)))
		at := s.rnd.IntN(total)
		for _, f := range faults {
			if at -= f.weight; at < 0 {
				s.begin(ctx, f)
				break
			}
		}
	}
	s.lasting.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// begin strikes unless one of its targets is being struck already.
func (s *saboteur) begin(ctx context.Context, f fault) {
	own := &strike{saboteur: s, rnd: rand.New(rand.NewPCG(s.rnd.Uint64(), 3)), targets: f.targets(s.rnd)}
	if !s.take(own.targets, f.name) {
		return
	}
	s.lasting.Go(func() {
		err := guarded(func() error {
			f.strike(ctx, own)
			return nil
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, t := range own.targets {
			delete(s.busy, t)
		}
		if err != nil && s.failed == nil {
			s.failed = fmt.Errorf("fault %s: %w", f.name, err)
		}
	})
}

func (s *saboteur) take(targets []string, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range targets {
		if s.busy[t] || s.failed != nil {
			return false
		}
	}
	for _, t := range targets {
		s.busy[t] = true
	}
	s.began[name] = append(s.began[name], time.Now())
	return true
}

// member is the consumer that a strike is about.
func (s *strike) member() *member {
	var i int
	_, err := fmt.Sscanf(s.targets[0], "consumer %d", &i)
	ensure(err)
	return s.w.members[i]
}

// wait waits for a random time.
func (s *strike) wait(ctx context.Context, from, to time.Duration) {
	pause(ctx, from+time.Duration(s.rnd.Int64N(int64(to-from))))
}

// proxies are all wires to the database, or to the broker.
func (s *strike) proxies(database bool) []*wire.Proxy {
	var all []*wire.Proxy
	for _, m := range s.w.members {
		if database {
			all = append(all, m.pg)
		} else {
			all = append(all, m.amqp...)
		}
	}
	for _, p := range s.producers {
		if database {
			all = append(all, p.pg)
		} else {
			all = append(all, p.amqp...)
		}
	}
	return all
}

// anyProxy is one wire, or one time in four all of them.
func (s *strike) anyProxy(database bool) []*wire.Proxy {
	all := s.proxies(database)
	if s.rnd.IntN(4) == 0 {
		return all
	}
	i := s.rnd.IntN(len(all))
	return all[i : i+1]
}
