package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// failure is what a fixture could not do. It is thrown where a test would be ended.
type failure struct{ text string }

func (f failure) Error() string { return f.text }

// fixtures is a testing.TB outside of a test: package testenv asks for one. What fails ends the stage.
type fixtures struct {
	testing.TB

	name string
	ctx  context.Context //nolint:containedctx // a TB has one

	mu       sync.Mutex
	cleanups []func()
	failed   bool
}

func newFixtures(ctx context.Context, name string) *fixtures { return &fixtures{ctx: ctx, name: name} }

func (f *fixtures) Helper()                  {}
func (f *fixtures) Name() string             { return f.name }
func (f *fixtures) Context() context.Context { return f.ctx }
func (f *fixtures) Logf(string, ...any)      {}

func (f *fixtures) Cleanup(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleanups = append(f.cleanups, fn)
}

func (f *fixtures) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

func (f *fixtures) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = true
	fmt.Printf("fixture: "+format+"\n", args...)
}

func (f *fixtures) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

func (f *fixtures) Fatalf(format string, args ...any) {
	f.mu.Lock()
	f.failed = true
	f.mu.Unlock()
	panic(failure{fmt.Sprintf(format, args...)})
}

// close undoes everything, last first.
func (f *fixtures) close() {
	f.mu.Lock()
	all := f.cleanups
	f.cleanups = nil
	f.mu.Unlock()
	for _, fn := range slices.Backward(all) {
		fn()
	}
}

// guarded runs fn and returns what a fixture could not do in it as an error.
func guarded(fn func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case failure:
			err = v
		default:
			panic(v)
		}
	}()
	return fn()
}

// must is for steps without which a stage makes no sense.
func must[T any](v T, err error) T {
	ensure(err)
	return v
}

func ensure(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}
