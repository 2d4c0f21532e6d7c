package handlers_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"

	"github.com/warrenq/warren/handlers"
	"github.com/warrenq/warren/jobstore"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		job  jobstore.Job
		want string
	}{
		"full": {
			jobstore.Job{
				ID: 1<<62 + 1, Kind: "mail", Args: json.RawMessage(`{"to": "<a@b.c>", "n": 1e400}`), Attempts: 3,
				Queue: "q", Priority: 20, Identifier: "order-7", Metadata: json.RawMessage(`{"by":"me"}`),
				Error: "not told", LeaseNo: 9,
			},
			`{"id":4611686018427387905,"kind":"mail","args":{"to":"<a@b.c>","n":1e400},"attempt":3,"queue":"q","priority":20,"identifier":"order-7","metadata":{"by":"me"}}`,
		},
		"empty": {
			jobstore.Job{ID: 1, Kind: "k", Attempts: 1, Queue: "default"},
			`{"id":1,"kind":"k","args":{},"attempt":1,"queue":"default","priority":0,"identifier":"","metadata":{}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := handlers.Document(&tc.job)
			if err != nil || string(got) != tc.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, tc.want)
			}
		})
	}
	if _, err := handlers.Document(&jobstore.Job{ID: 5, Args: json.RawMessage(`{`)}); err == nil || !strings.Contains(err.Error(), "job 5") {
		t.Errorf("broken args: got %v, want an error that names the job", err)
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                              "",
		" \n\t ":                        "",
		"all good":                      "all good",
		"two\r\nlines\n":                "two lines",
		"red \x1b[31malert\x1b[0m\a":    "red [31malert [0m",
		"spoof \u202egpj.exe":           "spoof gpj.exe",
		"bad \xff\xfe bytes\x00":        "bad bytes",
		"héllo wörld":                   "héllo wörld",
		"123456789012345678901":         "12345678901234567…",
		"12345678901234567890":          "12345678901234567890",
		"ééééééééééé":                   "éééééééé…",
		"1234567890123456789 and more…": "12345678901234567…",
	} {
		if got := handlers.Excerpt(in, 20); got != want || len(got) > 20 {
			t.Errorf("Excerpt(%q, 20) = %q (%d bytes), want %q", in, got, len(got), want)
		}
	}
	if got := handlers.Excerpt("text", 2); got != "" {
		t.Errorf("no room: got %q", got)
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add("two\nlines", 4)
	f.Add("\x1b]0;title\aé…", 7)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(max(limit, 0), 1000)
		got := handlers.Excerpt(s, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\x1b\r\n") {
			t.Errorf("Excerpt(%q, %d) = %q", s, limit, got)
		}
		if again := handlers.Excerpt(got, limit); again != got {
			t.Errorf("not stable: %q, then %q", got, again)
		}
	})
}

const canary = "S3CR3T-CANARY-1"

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := handlers.Secret(canary)
	type attribute struct {
		Element handlers.Secret
		Attr    handlers.Secret `xml:",attr"`
	}
	type holder struct {
		Field  handlers.Secret
		List   []handlers.Secret
		ByName map[string]handlers.Secret
		Any    any
	}
	h := holder{s, []handlers.Secret{s}, map[string]handlers.Secret{"k": s}, &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%08.3f", "%U", "%c", "%e"} {
		for _, v := range []any{s, &s, h, &h, []any{s}, fmt.Errorf("wrapped: %w, %v", errors.New("e"), s)} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprintln(&out, s, h, s.String(), s.GoString())
	asJSON, err := json.Marshal(h)
	asYAML, err2 := yaml.Marshal(h)
	asXML, err3 := xml.Marshal(attribute{s, s})
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	out.Write(bytes.Join([][]byte{asJSON, asYAML, asXML}, nil))
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("m", "secret", s, "holder", h)
	}
	for _, enc := range []zapcore.Encoder{
		zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
	} {
		log := zap.New(zapcore.NewCore(enc, zapcore.AddSync(&out), zap.DebugLevel))
		log.Info("m", zap.Any("secret", s), zap.Any("pointer", &s), zap.Any("holder", h), zap.Stringer("stringer", s), zap.Reflect("r", h))
		log.Sugar().Infow("m", "secret", s, "holder", h)
		log.Sugar().Infof("%v %+v", s, h)
	}
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("the secret was printed:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "***") {
		t.Error("nothing was printed at all")
	}
	if got := handlers.Secret("").String() + string(s); got != canary {
		t.Errorf("got %q: an empty secret prints nothing, and string() reveals", got)
	}
}

// What is read from JSON or YAML is the text itself.
func TestSecretIsRead(t *testing.T) {
	t.Parallel()
	var fromJSON, fromYAML handlers.Secret
	if err := errors.Join(json.Unmarshal([]byte(`"a b"`), &fromJSON), yaml.Unmarshal([]byte(`a b`), &fromYAML)); err != nil {
		t.Fatal(err)
	}
	if fromJSON != "a b" || fromYAML != "a b" {
		t.Errorf("read %q and %q", string(fromJSON), string(fromYAML))
	}
}
