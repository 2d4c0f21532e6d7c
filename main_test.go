package warren_test

import (
	"context"
	"flag"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore/postgres"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		// Examples need a server, and cannot skip themselves.
		if err := flag.Set("test.skip", "^Example"); err != nil {
			panic(err)
		}
	}
	testenv.Main(m)
}

// exampleStore is what postgres.Open and Migrate give a program, on a database of the example's own.
func exampleStore() *postgres.Store {
	store, err := postgres.Open(context.Background(), testenv.ExampleDatabase(), postgres.Config{})
	if err == nil {
		err = store.Migrate(context.Background())
	}
	if err != nil {
		panic(err)
	}
	return store
}

// exampleRun runs a registry until nothing is due any more.
func exampleRun(store *postgres.Store, registry *warren.Registry) {
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Registry: registry, UntilEmpty: true, Concurrency: 1})
	if err == nil {
		err = consumer.Run(context.Background())
	}
	if err != nil {
		panic(err)
	}
}
