package rabbitmq_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
)

const canary = "S3CR3T-CANARY"

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	const good = "amqp://u:" + canary + "@localhost:5672/v"
	for name, c := range map[string]struct {
		cfg  rabbitmq.Config
		says []string
	}{
		"no URL":              {rabbitmq.Config{}, []string{"empty", "amqp://"}},
		"blank URL":           {rabbitmq.Config{URL: "  "}, []string{"empty"}},
		"other scheme":        {rabbitmq.Config{URL: "http://u:" + canary + "@h"}, []string{"amqp://"}},
		"no scheme":           {rabbitmq.Config{URL: canary + "@h:5672"}, []string{"amqp://"}},
		"no host":             {rabbitmq.Config{URL: "amqp://u:" + canary + "@/v"}, []string{"host"}},
		"port 0":              {rabbitmq.Config{URL: "amqp://u:" + canary + "@h:0"}, []string{"port"}},
		"port 65536":          {rabbitmq.Config{URL: "amqp://u:" + canary + "@h:65536"}, []string{"port"}},
		"port is no number":   {rabbitmq.Config{URL: "amqp://u:" + canary + "@h:p"}, []string{"amqp://"}},
		"slash in password":   {rabbitmq.Config{URL: "amqp://u:x/" + canary + "@h:5672"}, []string{"percent-encode"}},
		"slash after a digit": {rabbitmq.Config{URL: "amqp://u:1/" + canary + "@h:5672"}, []string{"percent-encode", "%2F"}},
		"hash in password":    {rabbitmq.Config{URL: "amqp://u:1#" + canary + "@h:5672"}, []string{"percent-encode", "%23"}},
		"question mark":       {rabbitmq.Config{URL: "amqp://u:1?" + canary + "@h:5672"}, []string{"percent-encode", "%3F"}},
		"comma in password":   {rabbitmq.Config{URL: "amqp://u:a," + canary + "@h:5672"}, []string{"%2C", "URL 1 of 2"}},
		"percent in password": {rabbitmq.Config{URL: "amqp://u:%zz" + canary + "@h:5672"}, []string{"percent-encode"}},
		"second URL is bad":   {rabbitmq.Config{URL: good + ",amqp://h:99999"}, []string{"URL 2 of 2"}},
		"unknown parameter":   {rabbitmq.Config{URL: good + "?hartbeat=" + canary}, []string{"unknown parameter", "heartbeat"}},
		"no heartbeat":        {rabbitmq.Config{URL: good + "?heartbeat=0"}, []string{"heartbeat"}},
		"bad heartbeat":       {rabbitmq.Config{URL: good + "?heartbeat=" + canary}, []string{"heartbeat"}},
		"bad mechanism":       {rabbitmq.Config{URL: good + "?auth_mechanism=" + canary}, []string{"external"}},
		"certfile alone":      {rabbitmq.Config{URL: good + "?certfile=x"}, []string{"keyfile"}},
		"bad prefix":          {rabbitmq.Config{URL: good, Prefix: "a b"}, []string{`"a b"`}},
		"long prefix":         {rabbitmq.Config{URL: good, Prefix: strings.Repeat("x", 65)}, []string{"64"}},
		"bad queue type":      {rabbitmq.Config{URL: good, QueueType: "stream"}, []string{`"stream"`, "quorum"}},
		"short heartbeat":     {rabbitmq.Config{URL: good, Heartbeat: time.Millisecond}, []string{"1ms", "1s"}},
		"negative dial":       {rabbitmq.Config{URL: good, DialTimeout: -1}, []string{"dial timeout"}},
		"negative confirm":    {rabbitmq.Config{URL: good, ConfirmTimeout: -1}, []string{"confirm timeout"}},
		"key alone":           {rabbitmq.Config{URL: good, TLS: rabbitmq.TLS{KeyFile: "k"}}, []string{"certificate"}},
	} {
		b, err := rabbitmq.Open(c.cfg)
		if err == nil || b != nil {
			t.Errorf("%s: Open = %v, %v; want an error", name, b, err)
			continue
		}
		contains(t, err.Error(), c.says...)
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error contains the password: %v", name, err)
		}
	}
}

func TestOpenAccepts(t *testing.T) {
	t.Parallel()
	for _, u := range []string{
		"amqp://localhost", "amqp://localhost/", "amqp://[::1]:5672/%2F", "amqps://h", "amqp://u:p@h/a%2Fb",
		"amqp://u:%2C%40%2F%3A%3F%23@h", "amqp://h1, amqp://h2,amqps://h3", "amqp://u@h", "amqp://h?heartbeat=30",
		"amqps://h?auth_mechanism=external&certfile=c&keyfile=k&cacertfile=a&server_name_indication=n",
	} {
		if _, err := rabbitmq.Open(rabbitmq.Config{URL: u}); err != nil {
			t.Errorf("Open(%q) = %v", u, err)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"amqp://user:pw@h:5672/v":             "amqp://h:5672/v",
		"amqps://user:pw@h":                   "amqps://h:5671/%2F",
		"amqp://user:pw@h/v?heartbeat=5":      "amqp://h:5672/v",
		"amqp://a:b@h1,amqp://a:b@h2":         "amqp://h1:5672/%2F,amqp://h2:5672/%2F",
		"amqp://user:p/w@h:5672":              `amqp://***@"h:5672"`,
		"amqp://user:p@w@h:x":                 `amqp://***@"h:x"`,
		"amqp://user:pw":                      "amqp://***",
		"pw@h":                                "***",
		"":                                    "***",
		"amqp://user:p,w@h":                   "amqp://***,***",
		"amqp://user:pw@h:1\n2026 fake line?": `amqp://***@"h:1\n2026 fake line"`,
	} {
		if got := rabbitmq.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestPrintingAConfigShowsNoPassword(t *testing.T) {
	t.Parallel()
	c := rabbitmq.Config{URL: "amqp://user:" + canary + "@localhost:1/v"}
	b, err := rabbitmq.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(map[string]any{"c": c, "p": &c})
	if err != nil {
		t.Fatal(err)
	}
	log, logs := observed()
	log.Info("x", zap.Any("c", c), zap.Any("p", &c), zap.Stringer("s", c))
	for _, text := range []string{
		fmt.Sprint(c), fmt.Sprint(&c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c),
		fmt.Sprintf("%+v %#v", &c, []any{c}), string(asJSON), fmt.Sprint(logs.All()),
		fmt.Sprintf("%+v", rabbitmq.Endpoint(b)), fmt.Sprintf("%#v", rabbitmq.Endpoint(b)),
	} {
		if strings.Contains(text, canary) {
			t.Errorf("the password shows in %q", text)
		}
	}
}

func TestTopology(t *testing.T) {
	t.Parallel()
	l := rabbitmq.Topology("app", rabbitmq.Quorum, []broker.Band{{Queue: "mail", Priority: 5}, {Queue: "mail", Priority: 120}})
	got, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "Exchanges": [
  {
   "Name": "app.unroutable",
   "Kind": "fanout",
   "Args": null
  },
  {
   "Name": "app.jobs",
   "Kind": "direct",
   "Args": {
    "alternate-exchange": "app.unroutable"
   }
  }
 ],
 "Queues": [
  {
   "Name": "app.poison",
   "Exchange": "app.jobs",
   "Args": {
    "x-max-length": 1000,
    "x-message-ttl": 1209600000,
    "x-queue-type": "classic"
   }
  },
  {
   "Name": "app.mail.p005",
   "Exchange": "app.jobs",
   "Args": {
    "x-queue-type": "quorum"
   }
  },
  {
   "Name": "app.mail.p120",
   "Exchange": "app.jobs",
   "Args": {
    "x-queue-type": "quorum"
   }
  }
 ]
}`
	if string(got) != want {
		t.Errorf("Topology = %s", got)
	}
}
