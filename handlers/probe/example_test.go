package probe_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/warrenq/warren/handlers/probe"
	"github.com/warrenq/warren/jobstore"
)

// A handler is a plain function of a row: it can be tried without a queue.
func Example() {
	handle, err := probe.New(probe.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	job := &jobstore.Job{ID: 1, Kind: "probe", Args: json.RawMessage(`{"fail_times":1,"message":"no luck yet"}`)}
	for job.Attempts = 1; job.Attempts <= 2; job.Attempts++ {
		fmt.Println("attempt", job.Attempts, "says", handle(context.Background(), job))
	}
	job.Args = json.RawMessage(`{"outcome":"permanent","message":"no such customer"}`)
	fmt.Println(handle(context.Background(), job))
	// Output:
	// attempt 1 says no luck yet
	// attempt 2 says <nil>
	// permanent: no such customer
}
