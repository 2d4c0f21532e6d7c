package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// open is a shop on a database in memory that sends its mail with send.
func open(t *testing.T, send func(ctx context.Context, to, text string) error) (*Shop, *warrentest.Env) {
	t.Helper()
	env := warrentest.New(t, kinds(send))
	shop := &Shop{client: env.Client(), exec: execSQLite}
	if err := shop.createTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return shop, env
}

func post(t *testing.T, shop *Shop, body string) int {
	t.Helper()
	w := httptest.NewRecorder()
	shop.routes().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/orders", strings.NewReader(body)))
	return w.Code
}

func TestOrderIsConfirmed(t *testing.T) {
	t.Parallel()
	var mails []string
	shop, env := open(t, func(_ context.Context, to, _ string) error {
		mails = append(mails, to)
		return nil
	})
	if code := post(t, shop, `{"email":"ada@example.com","item":"tea"}`); code != http.StatusCreated {
		t.Fatalf("status %d", code)
	}
	warrentest.RequirePublished(t, env, func(job *warren.Job[OrderPlaced]) bool {
		return job.Args.Email == "ada@example.com"
	})
	env.Drain()
	if len(mails) != 1 || mails[0] != "ada@example.com" {
		t.Errorf("mails to %v, want one to ada@example.com", mails)
	}
}

func TestMailIsTriedAgain(t *testing.T) {
	t.Parallel()
	down := errors.New("the mail server is down")
	shop, env := open(t, func(context.Context, string, string) error {
		err := down
		down = nil // the next attempt finds it up
		return err
	})
	if err := shop.Place(t.Context(), Order{ID: "1", Email: "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	first := env.Drain()
	if len(first) != 1 || first[0].State != jobstore.TemporarilyFailed || first[0].Delay != 5*time.Second {
		t.Fatalf("attempts %v, want one that fails for now", first)
	}
	env.Advance(first[0].Delay) // no waiting: only the clock of the test moves
	if second := env.Drain(); len(second) != 1 || second[0].State != jobstore.Finished {
		t.Errorf("attempts %v, want one that is FINISHED", second)
	}
}

func TestBadAddressIsForAPerson(t *testing.T) {
	t.Parallel()
	attempt := warrentest.Perform(t, Confirm{Send: logMail}, OrderPlaced{Order: "1", Email: "nobody"})
	if attempt.State != jobstore.PermanentlyFailed {
		t.Errorf("attempt %s, want PERMANENTLY_FAILED", attempt)
	}
}

func TestNoOrderNoJob(t *testing.T) {
	t.Parallel()
	shop, env := open(t, logMail)
	order := Order{ID: "1", Email: "ada@example.com"}
	if err := shop.Place(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	if err := shop.Place(t.Context(), order); err == nil {
		t.Error("the same order was taken twice")
	}
	if n := len(warrentest.Published[OrderPlaced](t, env)); n != 1 {
		t.Errorf("%d jobs for one order", n)
	}
	if code := post(t, shop, "tea, please"); code != http.StatusBadRequest {
		t.Errorf("status %d for what is no JSON", code)
	}
}
