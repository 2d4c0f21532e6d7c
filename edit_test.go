package warren

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheckEdit(t *testing.T) {
	t.Parallel()
	c := &Client{rules: rules{priorities: []int{10, 20}, defaultQueue: "default", maxArgs: 100}}
	for want, o := range map[string]EditOpts{
		"priority 7 is not configured (10, 20)": {Priority: new(7)},
		`queue "a b" is not a name`:             {Queue: "a b"},
		"args: takes 102 bytes":                 {Args: strings.Repeat("x", 100)},
		"args: is not valid JSON":               {Args: json.RawMessage("{")},
		"both a delay and a time":               {Delay: new(time.Hour), At: time.Now()},
		"delay -1s is negative":                 {Delay: new(-time.Second)},
		"timeout -1s is negative":               {Timeout: new(-time.Second)},
		"max attempts 40000":                    {MaxAttempts: 40000},
		"metadata: is not valid JSON":           {Metadata: json.RawMessage("nope")},
		"a tag is empty":                        {Tags: &[]string{""}},
		"outside of the years":                  {At: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := c.CheckEdit(o)
		if !errors.Is(err, ErrInvalidJob) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	e, err := c.CheckEdit(EditOpts{
		Queue: "media", Priority: new(20), Args: map[string]int{"a": 1}, Delay: new(time.Duration), MaxAttempts: Unlimited,
		Timeout: new(time.Minute), Metadata: json.RawMessage(`{}`), Tags: &[]string{"t"},
	})
	if err != nil || *e.Queue != "media" || *e.Priority != 20 || string(e.Args) != `{"a":1}` || *e.Delay != 0 || *e.MaxAttempts != 0 ||
		*e.Timeout != time.Minute || string(e.Metadata) != `{}` || len(*e.Tags) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := c.CheckEdit(EditOpts{}); err != nil || !e.Empty() {
		t.Errorf("nothing: %+v, %v", e, err)
	}
}
