package warren_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// A job says for whom it was published, and is found by it.
func TestBy(t *testing.T) {
	t.Parallel()
	store := onFile(t)
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	for by, metadata := range map[string]any{"ann": nil, "bob": map[string]int{"a": 1}, "cid": json.RawMessage(`{"created_by":"dan"}`)} {
		if _, err := client.Publish(t.Context(), mail{To: by}, warren.PublishOpts{By: by, Metadata: metadata}); err != nil {
			t.Fatal(err)
		}
	}
	for by, to := range map[string]string{"ann": "ann", "bob": "bob", "cid": "", "dan": "cid"} {
		jobs, err := store.List(t.Context(), jobstore.Filter{CreatedBy: []string{by}})
		if err != nil {
			t.Fatal(err)
		}
		if (to == "") != (len(jobs) == 0) || len(jobs) > 0 && !strings.Contains(string(jobs[0].Args), to) {
			t.Errorf("by %s: %+v", by, jobs)
		}
	}
	for want, o := range map[string]warren.PublishOpts{
		"metadata is": {By: "ann", Metadata: []int{1}},
		"by":          {By: strings.Repeat("x", 10<<10)},
	} {
		if _, err := client.Publish(t.Context(), mail{}, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
