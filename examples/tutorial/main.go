// Program tutorial is the shop of docs/tutorial.md: it takes orders over HTTP and confirms each by
// mail, in a job that exists if and only if the order does.
//
//	DATABASE_URL   sqlite:PATH, the default is sqlite:orders.db, or postgres://…
//	AMQP_URL       amqp://…; leave it out to go without a broker
//	LISTEN         where HTTP is served; default 127.0.0.1:8000
package main

import (
	"cmp"
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/warrenq/warren"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// run serves and consumes until ctx ends.
func run(ctx context.Context) error {
	database, exec, err := openDatabase(ctx, cmp.Or(os.Getenv("DATABASE_URL"), "sqlite:orders.db"))
	if err != nil {
		return err
	}
	defer database.Close()
	if err := database.Migrate(ctx); err != nil {
		return err
	}
	broker, err := openBroker(os.Getenv("AMQP_URL"))
	if err != nil {
		return err
	}
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{Store: database, Broker: broker, Registry: kinds(logMail)})
	if err != nil {
		return err
	}
	shop := &Shop{client: consumer.Client(), exec: exec}
	if err := shop.createTable(ctx); err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var serving sync.WaitGroup
	var failed error
	serving.Go(func() {
		defer stop()
		failed = serve(ctx, shop.routes())
	})
	err = consumer.Run(ctx) // until ctx ends; then it lets running handlers finish
	stop()
	serving.Wait()
	return errors.Join(err, failed)
}

// serve answers requests until ctx ends, and finishes those that have begun.
func serve(ctx context.Context, handler http.Handler) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8000"))
	if err != nil {
		return err
	}
	log.Printf("listening on http://%s", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
