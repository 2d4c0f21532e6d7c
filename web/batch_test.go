package web_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/web"
)

func TestBatchAnswer(t *testing.T) {
	t.Parallel()
	r := serve(t)
	client, err := r.app.FlowClient()
	if err != nil {
		t.Fatal(err)
	}
	probe := func(args string) warren.Item { return warren.Item{Kind: "probe", Args: json.RawMessage(args)} }
	id, err := client.PublishFlow(t.Context(), warren.Batch("Import CSV", probe(`{}`), probe(`{"outcome":"permanent"}`)).AllowFailures().Meta("file", "a.csv"))
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/api/v1/batches/%d", id)
	type batch struct {
		Name, State             string
		Progress, Total, Failed int
	}
	got := r.want(200, "GET", path, "")
	r.conforms("Batch", got)
	if b := read[batch](r, got); b != (batch{"Import CSV", "running", 0, 2, 0}) {
		t.Errorf("before: %+v", b)
	}
	r.work()
	if b := read[batch](r, r.want(200, "GET", path, "")); b != (batch{"Import CSV", "finished", 100, 2, 1}) {
		t.Errorf("after: %+v", b)
	}
	r.missing("no-such-batch", "there is no batch 4711", "/api/v1/batches/4711")
	if p := read[web.Problem](r, r.want(422, "GET", "/api/v1/batches/x", "")); p.Field != "id" || !strings.HasPrefix(p.Detail, `"x" is not the number of a batch: digits`) {
		t.Errorf("problem: %+v", p)
	}
}
