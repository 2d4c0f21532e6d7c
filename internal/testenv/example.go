package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// ExampleDatabase returns the DSN of a fresh empty database on the shared server, for Example
// functions, which have no testing.TB. It is dropped when Main ends, and panics when there is no
// server to be had.
func ExampleDatabase() string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	admin, err := shared.databaseURL(ctx)
	if err != nil {
		panic(fmt.Sprintf("a PostgreSQL server for examples: %v", err))
	}
	dsn, err := url.Parse(admin)
	if err != nil {
		panic(EnvDatabaseURL + " is not a URL")
	}
	name := "warren_example_" + strings.ToLower(rand.Text()[:12])
	if err := createDatabase(ctx, admin, name); err != nil {
		panic(err.Error())
	}
	AtExit(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := dropDatabase(ctx, admin, name); err != nil {
			fmt.Fprintln(os.Stderr, "testenv:", err)
		}
	})
	dsn.Path = "/" + name
	return dsn.String()
}
