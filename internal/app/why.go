package app

import (
	"context"
	"errors"
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
	facts, err := a.Store.Explain(ctx, id)
	if err != nil {
		return Explanation{}, err
	}
	var view jobstore.BrokerView
	if a.Config.AMQPURL != "" && !facts.Job.State.Final() && facts.Job.State != jobstore.Processing {
		if view, err = a.brokerView(ctx, facts.Job.Ref()); err != nil {
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

// brokerView asks the broker for the depth of a band's queue, which also shows whether it can be used.
func (a *App) brokerView(ctx context.Context, ref jobstore.Ref) (jobstore.BrokerView, error) {
	view := jobstore.BrokerView{Configured: true}
	err := a.withBroker(ctx, func(ctx context.Context, b broker.Broker) (err error) {
		view.Depth, err = b.Depth(ctx, broker.Band(ref.Band))
		return err
	})
	if err != nil && errors.Is(err, ErrUsage) {
		return view, err
	}
	view.Err = err
	return view, nil
}

// withBroker runs fn with a connected broker, for at most brokerPatience.
func (a *App) withBroker(ctx context.Context, fn func(ctx context.Context, b broker.Broker) error) error {
	quiet := *a
	quiet.Log = zap.NewNop() // what goes wrong is this command's answer
	b, err := quiet.Broker() //nolint:contextcheck // it connects to nothing; its Run gets a context
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- b.Run(running) }()
	err = fn(ctx, b)
	cancel()
	stop()
	return errors.Join(err, <-done)
}
