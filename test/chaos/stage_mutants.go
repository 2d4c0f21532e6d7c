package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/warrenq/warren/test/chaos/mutant"
)

// abreast is how many scenes run beside each other: they mostly wait.
const abreast = 6

// parallel runs jobs, a few at a time, and returns when all are done.
func parallel(n int, do func(i int)) {
	var all sync.WaitGroup
	room := make(chan struct{}, abreast)
	for i := range n {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			do(i)
		})
	}
	all.Wait()
}

// stageMutants runs every scenario with the shipped protocol, which must pass, and with its mutant, which must
// not.
func stageMutants(ctx context.Context, run *run, r *result) error {
	s, err := run.calm(ctx)
	if err != nil {
		return err
	}
	r.Versions, r.Mutants = s.versions(ctx), map[string]string{}
	mutants := slices.DeleteFunc(mutant.All(), func(m mutant.Mutant) bool { return !run.wants(m.Name) })
	var mu sync.Mutex
	parallel(2*len(mutants), func(i int) {
		m := mutants[i/2]
		broken := i%2 == 1
		text, err := run.scenario(ctx, s, m, broken)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			r.fail("%s (broken: %t): %v", m.Name, broken, err)
		case broken && text == "":
			r.fail("the mutant %q was not noticed by %q", m.Name, m.Scenario)
		case broken:
			r.Mutants[m.Name] = text
			fmt.Printf("M: %s: caught by %q (%s)\n", m.Name, m.Scenario, text)
		case text != "":
			r.fail("the shipped protocol failed %q: %s", m.Scenario, text)
		default:
			r.Points = append(r.Points, m.Scenario)
		}
	})
	return nil
}

// scenario runs one and returns the violations in words.
func (r *run) scenario(ctx context.Context, s *servers, m mutant.Mutant, broken bool) (text string, err error) {
	name, consumer := m.Scenario, r.consumer
	if broken {
		name = m.Name
		consumer = filepath.Join(r.bin, short(m.Name))
		if err := m.Build(ctx, "../..", ".", "./consumer", consumer); err != nil {
			return "", err
		}
	}
	err = guarded(func() error {
		scene := newScene(ctx, s, r, name, consumer)
		defer scene.close()
		if broken && m.SQL != "" {
			scene.exec(ctx, m.SQL)
		}
		if err := scenarios()[m.Scenario](ctx, scene); err != nil {
			return err
		}
		h, v, err := scene.judge(ctx)
		if err != nil {
			return err
		}
		text = found(v)
		for _, x := range v.Violations {
			if !broken {
				fmt.Printf("M: %s: %s: job %d: %s\n  %s\n", name, x.Class, x.ID, x.Text, strings.Join(historyOf(h, x.ID), "\n  "))
			}
		}
		return nil
	})
	return text, err
}
