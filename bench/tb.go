package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// fixtureError is what a server's fixture could not do. It is thrown where a test would end.
type fixtureError string

func (f fixtureError) Error() string { return string(f) }

// fixtures is a testing.TB outside of a test, for package testenv. Not for concurrent use.
type fixtures struct {
	testing.TB

	ctx      context.Context //nolint:containedctx // a TB has one
	cleanups []func()
	failed   bool
}

func (f *fixtures) Helper()                  {}
func (f *fixtures) Name() string             { return "bench" }
func (f *fixtures) Context() context.Context { return f.ctx }
func (f *fixtures) Logf(string, ...any)      {}
func (f *fixtures) Cleanup(fn func())        { f.cleanups = append(f.cleanups, fn) }
func (f *fixtures) Failed() bool             { return f.failed }
func (f *fixtures) Fatal(args ...any)        { f.Fatalf("%s", fmt.Sprint(args...)) }

func (f *fixtures) Errorf(format string, args ...any) {
	f.failed = true
	fmt.Printf("servers: "+format+"\n", args...)
}

func (f *fixtures) Fatalf(format string, args ...any) {
	f.failed = true
	panic(fixtureError(fmt.Sprintf(format, args...)))
}

// close undoes everything, last first.
func (f *fixtures) close() {
	for _, fn := range slices.Backward(f.cleanups) {
		fn()
	}
	f.cleanups = nil
}

// guarded runs fn and returns what a fixture could not do in it.
func guarded(fn func()) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case fixtureError:
			err = v
		default:
			panic(v)
		}
	}()
	fn()
	return nil
}
