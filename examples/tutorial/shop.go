package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log"
	"net/http"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Shop takes orders over HTTP.
type Shop struct {
	client *warren.Client
	exec   Exec
}

// Exec runs a statement in a transaction of the database at hand.
type Exec func(ctx context.Context, tx jobstore.Tx, query string, args ...any) error

// Order is a row of the shop's own table.
type Order struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Item  string `json:"item"`
}

// Place writes an order and publishes its job, both or neither.
func (s *Shop) Place(ctx context.Context, o Order) error {
	return s.client.InTx(ctx, func(ctx context.Context, tx *warren.Tx) error {
		err := s.exec(ctx, tx.Tx, "INSERT INTO orders (id, email, item) VALUES ($1, $2, $3)", o.ID, o.Email, o.Item)
		if err != nil {
			return err
		}
		_, err = tx.Publish(ctx, OrderPlaced{Order: o.ID, Email: o.Email})
		return err
	})
}

// createTable makes the shop's own table on first use.
func (s *Shop) createTable(ctx context.Context) error {
	return s.client.InTx(ctx, func(ctx context.Context, tx *warren.Tx) error {
		return s.exec(ctx, tx.Tx, "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, email text NOT NULL, item text NOT NULL)")
	})
}

// routes is POST /orders.
func (s *Shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&o); err != nil {
			http.Error(w, "the order is no JSON object: "+err.Error(), http.StatusBadRequest)
			return
		}
		o.ID = rand.Text()[:8]
		if err := s.Place(r.Context(), o); err != nil {
			log.Printf("order %s: %v", o.ID, err)
			http.Error(w, "the order could not be taken; try again", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		if err := json.NewEncoder(w).Encode(o); err != nil {
			log.Printf("order %s: answer: %v", o.ID, err)
		}
	})
	return mux
}
