package config_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/config"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  "",
		"no secret here":                    "no secret here",
		"sqlite:/var/lib/warren.db":         "sqlite:/var/lib/warren.db",
		"postgres://h/db":                   "postgres://h/db",
		"postgres://u@h/db?sslmode=disable": "postgres://u@h/db?sslmode=disable",
		"postgres://u:S3@h:5432/db":         "postgres://u:***@h:5432/db",
		"postgres://u:@h/db":                "postgres://u:***@h/db",
		"postgres://h/db?user=u&password=S3&sslmode=x":  "postgres://h/db?user=u&password=***&sslmode=x",
		"postgres://u:S3@h/db?sslpassword=S3":           "postgres://u:***@h/db?sslpassword=***",
		"amqp://g:S3@a:5672/v,amqps://g:S3@b/v":         "amqp://g:***@a:5672/v,amqps://g:***@b/v",
		"amqp://g:S,3@a,amqp://g:S3@b":                  "amqp://g:***@a,amqp://g:***@b",
		"https://S3@hooks.example.org/x":                "https://***@hooks.example.org/x",
		"https://u:S3@h/x?token=S3&page=2":              "https://***@h/x?token=***&page=2",
		"https://h/x?page=2&api_key=S3&Sig=S3#f":        "https://h/x?page=2&api_key=***&Sig=***#f",
		"https://h/x?X-Amz-Signature=S3":                "https://h/x?X-Amz-Signature=***",
		"host=h user=u password=S3 dbname=d":            "host=h user=u password=*** dbname=d",
		"host=h password = 'S 3\\' x' dbname=d":         "host=h password = *** dbname=d",
		`dial "amqp://g:S3@h:5672/": refused`:           `dial "amqp://g:***@h:5672/": refused`,
		"first postgres://u:S3@h/db then amqp://u:S3@h": "first postgres://u:***@h/db then amqp://u:***@h",
		// Malformed: rather too much than too little.
		"postgres://u:S/3@h/db":   "postgres://u:***@h/db",
		"postgres://u:S@3@h/db":   "postgres://u:***@h/db",
		"postgres://u:S?3@h/db":   "postgres://u:***@h/db",
		"postgres://u:S#3@h/db":   "postgres://u:***@h/db",
		"postgres://u:S%zz3@h/db": "postgres://u:***@h/db",
		"postgres://u:S 3@h/db":   "postgres://***@h/db",
		`postgres://u:S"3@h/db`:   "postgres://***@h/db",
		"postgres://u:S3":         "postgres://***",
		"the time is 10:30@noon":  "the time is 10:30@noon",
	} {
		if got := config.Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

// A password that was percent-encoded as it should be is never shown, wherever the URL stands.
func FuzzRedact(f *testing.F) {
	f.Add("p@ss w/rd", "dial ", ": refused")
	f.Add("a:b,c?d#e", "\"", "\"")
	f.Add("'", "x@y://", "@z")
	f.Fuzz(func(t *testing.T, password, before, after string) {
		if len(password) < 4 {
			return // it may be anywhere by chance
		}
		const marked = "S3CR3T"
		password = marked + password
		for _, u := range []string{
			"postgres://user:" + url.QueryEscape(password) + "@host/db",
			"amqp://h,amqp://user:" + url.QueryEscape(password) + "@host:5672/",
			"https://h/p?x=1&token=" + url.QueryEscape(password),
		} {
			text := strings.ReplaceAll(before, marked, "") + " " + u + " " + strings.ReplaceAll(after, marked, "")
			if got := config.Redact(text); strings.Contains(got, marked) {
				t.Errorf("Redact(%q) = %q", text, got)
			}
		}
	})
}
