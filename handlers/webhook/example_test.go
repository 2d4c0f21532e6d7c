package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/warrenq/warren/handlers/webhook"
	"github.com/warrenq/warren/jobstore"
)

// A kind whose jobs another service does. In warren.yaml:
//
//	kinds:
//	  mail: {webhook: {url: "http://127.0.0.1:9000/mail", secret: "whsec_…"}, timeout: 30s}
func Example() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var job struct {
			Args struct{ To string }
		}
		if json.NewDecoder(r.Body).Decode(&job) != nil || job.Args.To == "" {
			http.Error(w, "nobody to write to", http.StatusUnprocessableEntity) // for good
			return
		}
		fmt.Println("mail to", job.Args.To, "with the key", r.Header.Get("Idempotency-Key"))
		_, _ = io.WriteString(w, `{"message":"sent"}`) // kept as the job's output
	}))
	defer service.Close()

	handle, err := webhook.New(webhook.Config{URL: service.URL + "/mail", Client: &http.Client{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(handle(context.Background(), &jobstore.Job{ID: 7, Kind: "mail", Args: json.RawMessage(`{"to":"a@example.org"}`), Attempts: 1}))
	// Output:
	// mail to a@example.org with the key 7
	// <nil>
}
