package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
)

// Explanation says why a job does not run, or that it does.
type Explanation struct {
	ID      jobstore.ID     `json:"id"`
	State   jobstore.State  `json:"state"`
	Verdict string          `json:"verdict"` // final, running, blocked or runnable
	Now     time.Time       `json:"now"`     // the database's clock
	Gates   []jobstore.Gate `json:"gates"`
	Job     jobstore.Job    `json:"-"`
}

// brokerPatience is how long an operator's command waits for the broker.
const brokerPatience = 5 * time.Second

// Why evaluates the conditions under which the job would start, as a claim does.
func (a *App) Why(ctx context.Context, id jobstore.ID) (Explanation, error) {
	return a.explain(ctx, id, a.brokerView)
}

// watchEvery is how often a watch looks.
const watchEvery = time.Second

// WatchWhy tells each what Why would say, at first and then whenever that has changed, until the job has
// ended. It returns nil when ctx ends. One connection to the broker serves all of it.
func (a *App) WatchWhy(ctx context.Context, id jobstore.ID, each func(Explanation) error) error {
	if a.Config.AMQPURL == "" {
		return a.repeatWhy(ctx, id, a.brokerView, each)
	}
	return a.withBroker(ctx, func(b broker.Broker) error {
		view := func(ctx context.Context, ref jobstore.Ref) (jobstore.BrokerView, error) {
			return viewOf(ctx, b, ref), nil
		}
		return a.repeatWhy(ctx, id, view, each)
	})
}

func (a *App) repeatWhy(ctx context.Context, id jobstore.ID, view viewer, each func(Explanation) error) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for told := ""; ; {
		why, err := a.explain(ctx, id, view)
		if ctx.Err() != nil {
			return nil // it was asked to stop
		}
		if err != nil {
			return err
		}
		if now := why.gist(); now != told {
			told = now
			if err := each(why); err != nil {
				return err
			}
		}
		if why.State.Final() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// gist is what makes an answer another one. The texts of gates count down, and do not.
func (e *Explanation) gist() string {
	names := make([]string, len(e.Gates))
	for i, g := range e.Gates {
		names[i] = fmt.Sprint(g.Name, g.Blocking)
	}
	return fmt.Sprint(e.State, e.Verdict, e.Job.LeaseNo, e.Job.AvailableAt, names)
}

// viewer asks the broker about a job's band.
type viewer func(ctx context.Context, ref jobstore.Ref) (jobstore.BrokerView, error)

func (a *App) explain(ctx context.Context, id jobstore.ID, ask viewer) (Explanation, error) {
	facts, err := a.Store.Explain(ctx, id)
	if err != nil {
		return Explanation{}, err
	}
	var view jobstore.BrokerView
	if a.Config.AMQPURL != "" && !facts.Job.State.Final() && facts.Job.State != jobstore.Processing {
		if view, err = ask(ctx, facts.Job.Ref()); err != nil {
			return Explanation{}, err
		}
		// The broker was slower to answer than a job that is about to start.
		if facts, err = a.Store.Explain(ctx, id); err != nil {
			return Explanation{}, err
		}
	}
	gates := facts.Gates(view)
	return Explanation{
		ID: id, State: facts.Job.State, Verdict: jobstore.Verdict(gates), Now: facts.Now, Gates: gates, Job: facts.Job,
	}, nil
}

// brokerView asks with a connection of its own.
func (a *App) brokerView(ctx context.Context, ref jobstore.Ref) (jobstore.BrokerView, error) {
	view := jobstore.BrokerView{Configured: true}
	err := a.withBroker(ctx, func(b broker.Broker) error {
		view = viewOf(ctx, b, ref)
		return view.Err
	})
	if err != nil && errors.Is(err, ErrUsage) {
		return view, err
	}
	view.Err = err
	return view, nil
}

// viewOf asks the broker for the depth of a band's queue, which also shows whether it can be used.
func viewOf(ctx context.Context, b broker.Broker, ref jobstore.Ref) jobstore.BrokerView {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	view := jobstore.BrokerView{Configured: true}
	view.Depth, view.Err = b.Depth(ctx, broker.Band(ref.Band))
	return view
}

// withBroker runs fn beside a broker of its own, which connects meanwhile.
func (a *App) withBroker(ctx context.Context, fn func(b broker.Broker) error) error {
	quiet := *a
	quiet.Log = zap.NewNop() // what goes wrong is this command's answer
	b, err := quiet.Broker() //nolint:contextcheck // it connects to nothing; its Run gets a context
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- b.Run(running) }()
	err = fn(b)
	stop()
	return errors.Join(err, <-done)
}
