package main

import (
	"context"
	"fmt"
	"log"
	"net/mail"
	"time"

	"github.com/warrenq/warren"
)

// OrderPlaced is what the job that confirms an order needs to know.
type OrderPlaced struct {
	Order string `json:"order"`
	Email string `json:"email"`
}

// Kind names the handler of these jobs.
func (OrderPlaced) Kind() string { return "order-placed" }

// Confirm sends the mail that confirms an order.
type Confirm struct {
	Send func(ctx context.Context, to, text string) error
}

// Handle runs one attempt. What it returns decides what becomes of the job.
func (c Confirm) Handle(ctx context.Context, job *warren.Job[OrderPlaced]) error {
	to, err := mail.ParseAddress(job.Args.Email)
	if err != nil {
		return warren.Permanent(fmt.Errorf("address %q: %w", job.Args.Email, err)) // no attempt would help
	}
	return c.Send(ctx, to.Address, "Your order "+job.Args.Order+" is on its way.") // an error: again, later
}

// kinds lists what this program runs in the background.
func kinds(send func(ctx context.Context, to, text string) error) *warren.Registry {
	var registry warren.Registry
	warren.Register(&registry, Confirm{Send: send}, warren.KindOpts{
		Timeout: 10 * time.Second,
		Backoff: warren.BackoffSteps(5*time.Second, time.Minute, 10*time.Minute),
	})
	return &registry
}

// logMail stands for a mail server, so that you can try the program without one.
func logMail(_ context.Context, to, text string) error {
	log.Printf("mail to %s: %s", to, text)
	return nil
}
