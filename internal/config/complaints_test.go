package config_test

import (
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/config"
)

func TestComplaintsOfTheFile(t *testing.T) {
	t.Parallel()
	const kind = "kinds: {k: {probe: {}, %s}}"
	for text, want := range map[string]string{
		"prioritys: [1]":              `warren.yaml:1: unknown key "prioritys"; the nearest known key is "priorities"`,
		"\n\nshcema: x":               `warren.yaml:3: unknown key "shcema"; the nearest known key is "schema"`,
		"queue-prefix: x":             `unknown key "queue-prefix"; the nearest known key is "queue_prefix"`,
		"kind: {}":                    `the nearest known key is "kinds"`,
		"retentoin: {}":               `the nearest known key is "retention"`,
		"retention: {\n finishd: 1d}": `warren.yaml:2: unknown key "retention.finishd"; the nearest known key is "retention.finished"`,
		"retention: {ready: 1d}":      `unknown key "retention.ready"`,
		"notify: {atempts: 1}":        `the nearest known key is "notify.attempts"`,
		"? [a]\n: 1":                  `warren.yaml:1: a list cannot be a key; want a plain name`,
		"schema: a\nschema: b":        `warren.yaml:2: key "schema" is in line 1 already; keep one of the two`,
		"retention: {failed: 1d, permanently_failed: 2d}": `permanently_failed is the same as retention.failed, which line 1 sets too; keep one`,
		"- a":                            `warren.yaml:1: a list is not a mapping; want entries such as "schema: warren"`,
		"hello":                          `warren.yaml:1: a plain value is not a mapping; want entries such as "schema: warren"`,
		"retention: 14d":                 `warren.yaml:1: retention: "14d" is not a mapping; want entries such as "finished: 14d"`,
		"notify: [1]":                    `notify: a list is not a mapping; want entries such as "attempts: 5"`,
		"schema: a\n---\nb: c":           `warren.yaml: there is a second document after ---; keep one`,
		"schema: 'a":                     `warren.yaml: yaml: `,
		"\tschema: a":                    `warren.yaml: yaml: `,
		"schema: Jobs":                   `warren.yaml:1: schema: "Jobs" is not allowed; use a lower-case letter or _, then letters, digits or _, at most 63`,
		"schema: a;drop":                 `schema: "a;drop" is not allowed`,
		"schema: [a]":                    `schema: a list is not a plain value`,
		"schema: ''":                     `schema: "" is not allowed`,
		"queue_prefix: 'a b'":            `queue_prefix: "a b" is not allowed; use letters`,
		"default_queue: 'a#'":            `default_queue: queue "a#" is not a name: use 1 to 100 letters, digits and _ . : -, beginning with a letter, a digit or _`,
		"queue_type: lazy":               `queue_type: "lazy" is none of auto, classic, quorum`,
		"log_format: xml":                `log_format: "xml" is none of auto, json, console`,
		"log_level: loud":                `log_level: "loud" is none of debug, info, warn, error`,
		"migrate: yes":                   `migrate: "yes" is none of auto, never`,
		"concurrency: many":              `concurrency: "many" is not a whole number from 1 to 10000`,
		"concurrency: 0":                 `concurrency: "0" is not a whole number from 1 to 10000`,
		"concurrency: 1e3":               `concurrency: "1e3" is not a whole number`,
		"concurrency: {a: 1}":            `concurrency: a mapping is not a plain value`,
		"order: random":                  `order: "random" is none of strict, weighted, fair`,
		"poll_interval: 1ms":             `poll_interval: "1ms" is not from 50ms to 30s`,
		"weights: {priorities: {10: 0}}": `weights.priorities: "0" is not a whole number from 1 to 1000`,
		"weights: {priorities: {11: 1}}": `weights.priorities: priority 11 is not configured`,
		"weights: {queues: {'a b': 1}}":  `weights.queues: queue "a b" is not a name: use 1 to 100 letters`,
		"hint_size: 1001":                `hint_size: "1001" is not a whole number from 1 to 1000`,
		"max_attempts: -1":               `max_attempts: "-1" is not a whole number from 0`,
		"max_attempts: 32768":            `max_attempts: "32768" is not a whole number from 0 to 32767`,
		"max_file: 0":                    `max_file: "0" is not from 1 byte to 1024GiB`,
		"max_job_log: 2GiB":              `max_job_log: "2GiB" is not from 0 (jobs have no logs) to 1GiB`,
		"max_args: 65MiB":                `max_args: "65MiB" is not from 2 bytes to 64MiB`,
		"max_args: big":                  `max_args: "big" is not a size; write one such as 262144, 256KiB`,
		"api_token: a b":                 `the value (not shown: it is a secret) has spaces`,
		"drain_timeout: 25":              `drain_timeout: "25" is not a duration; write one such as 500ms, 30s`,
		"priorities: []":                 `priorities: the list is empty; want at least one priority`,
		"priorities: [10, 10]":           `priorities: 10 is in the list twice; keep one`,
		"priorities: [10, 1000]":         `priorities: "1000" is not a priority from 0 to 999`,
		"priorities: [10, -1]":           `priorities: "-1" is not a priority`,
		"priorities: [[1]]":              `priorities: the list has a list in it; want plain values`,
		"priorities: {a: 1}":             `priorities: a mapping is not a list`,
		"retention: {failed: 0}":         `retention.failed: "0" would delete jobs the moment they end; write forever to keep them`,
		"retention: {failed: x}":         `retention.failed: "x" is not a duration; write one such as 500ms, 30s, 1h30m or 14d, or forever`,
		"notify: {attempts: 0}":          `notify.attempts: "0" is not a whole number from 1`,

		"kinds: [mail]":          `warren.yaml:1: kinds: a list is not a mapping; want entries such as "mail: {webhook:`,
		"kinds: {k: }":           `kinds.k has 0 handlers; want exactly one of webhook, command, probe`,
		"kinds: {k: {queue: q}}": `kinds.k has 0 handlers`,
		"kinds: {k: webhook}":    `kinds.k: a plain value is not a mapping; want entries such as "probe: {}"`,
		"kinds: {k: {probe: {}, command: {run: [a]}}}":                          `kinds.k has 2 handlers`,
		"kinds: {'a b': {probe: {}}}":                                           `kinds: kind "a b" is not a name: use 1 to 128 letters, digits and _ . : / -, beginning with a letter, a digit or _`,
		"kinds:\n k:\n  webhok: {url: x}":                                       `warren.yaml:3: unknown key "webhok" in kinds.k; the nearest known key is "webhook"`,
		strings.ReplaceAll(kind, "%s", "priority: 7"):                           `kinds.k.priority: priority 7 is not configured (10, 20, 30, 40, 50); add it to priorities`,
		strings.ReplaceAll(kind, "%s", "priority: high"):                        `kinds.k.priority: "high" is not a priority from 0 to 999`,
		strings.ReplaceAll(kind, "%s", "priority: "):                            `kinds.k.priority: "" is not a plain value`,
		strings.ReplaceAll(kind, "%s", "queue: a*"):                             `kinds.k.queue: queue "a*" is not a name: use 1 to 100 letters`,
		strings.ReplaceAll(kind, "%s", "max_attempts: x"):                       `kinds.k.max_attempts: "x" is not a whole number`,
		strings.ReplaceAll(kind, "%s", "max_attempts: 32768"):                   `kinds.k.max_attempts: "32768" is not a whole number from 0 to 32767`,
		strings.ReplaceAll(kind, "%s", "timeout: -1s"):                          `kinds.k.timeout: duration "-1s" is negative`,
		strings.ReplaceAll(kind, "%s", "backoff: 5s"):                           `kinds.k.backoff: "5s" is not a list; want one such as [1s, 5s, 30s]`,
		strings.ReplaceAll(kind, "%s", "backoff: []"):                           `kinds.k.backoff: the list is empty`,
		strings.ReplaceAll(kind, "%s", "backoff: [1]"):                          `kinds.k.backoff: "1" is not a duration`,
		strings.ReplaceAll(kind, "%s", "group_on_retry: run"):                   `kinds.k.group_on_retry: "run" is none of block, skip`,
		strings.ReplaceAll(kind, "%s", "rate_limit: 50"):                        `"50" is not a rate limit; write one such as 50/s`,
		strings.ReplaceAll(kind, "%s", "rate_limit: 0/s"):                       `a rate of 0 lets nothing begin`,
		strings.ReplaceAll(kind, "%s", "rate_limit: -1/s"):                      `a rate of -1 lets nothing begin`,
		strings.ReplaceAll(kind, "%s", "rate_limit: 5/0s"):                      `a rate per 0s is none`,
		strings.ReplaceAll(kind, "%s", "rate_limit: {burst: 5}"):                `limit is missing`,
		strings.ReplaceAll(kind, "%s", "rate_limit: {limit: 5/s, burst: 0}"):    `kinds.k.rate_limit.burst: "0" is not a whole number from 1`,
		strings.ReplaceAll(kind, "%s", "rate_limit: {limit: 5/s, drop: maybe}"): `"maybe" is none of true, false`,
		strings.ReplaceAll(kind, "%s", "max_errors: 0"):                         `kinds.k.max_errors: "0" is not a whole number from 1`,
		strings.ReplaceAll(kind, "%s", "retry_for: -1s"):                        `kinds.k.retry_for: duration "-1s" is negative`,
		strings.ReplaceAll(kind, "%s", "max_running: 0"):                        `kinds.k.max_running: "0" is not a whole number from 1`,
		strings.ReplaceAll(kind, "%s", "breaker: 5"):                            `kinds.k.breaker: a plain value is not a mapping; want entries such as "errors: 10"`,
		strings.ReplaceAll(kind, "%s", "breaker: {errors: 0}"):                  `kinds.k.breaker.errors: "0" is not a whole number from 1`,
		strings.ReplaceAll(kind, "%s", "breaker: {within: -1s}"):                `duration "-1s" is negative`,
		strings.ReplaceAll(kind, "%s", "breaker: {cooldown: 1ms}"):              `a cooldown of 1ms; use 10ms to`,
		strings.ReplaceAll(kind, "%s", "breaker: {limit: 1}"):                   `unknown key "limit" in kinds.k.breaker`,
		"kinds: {k: {probe: {sleep: 1s}}}":                                      `unknown key "sleep" in kinds.k.probe, which has no keys; remove it`,
		"kinds: {k: {webhook: {}}}":                                             `kinds.k.webhook: url is missing; want one such as https://example.org/jobs`,
		"kinds: {k: {webhook: {url: 'ftp://h/'}}}":                              `kinds.k.webhook: url "ftp://h" has neither the scheme http nor https`,
		"kinds: {k: {webhook: {url: 'http:///x'}}}":                             `has no host`,
		"kinds: {k: {webhook: http://h}}":                                       `kinds.k.webhook: a plain value is not a mapping; want entries such as "url: \"https`,
		"kinds: {k: {webhook: {url: 'http://h', secret: whsec_!}}}":             `secret begins with whsec_, but what follows is not base64`,
		"kinds: {k: {webhook: {url: 'http://h', secret: }}}":                    `kinds.k.webhook.secret: want a text that is not empty`,
		"kinds: {k: {webhook: {url: 'http://h', secret: a, secret_file: ok}}}":  `kinds.k.webhook has both secret and secret_file; keep one`,
		"kinds: {k: {webhook: {url: 'http://h', secret_file: missing}}}":        `kinds.k.webhook.secret_file: open missing: file does not exist; name a file that can be read`,
		"kinds: {k: {webhook: {url: 'http://h', secret_file: empty}}}":          `kinds.k.webhook.secret_file: empty is empty; put the secret into it`,
		"kinds: {k: {command: {}}}":                                             `kinds.k.command: run names no program; want a list`,
		"kinds: {k: {command: {run: resize.py}}}":                               `kinds.k.command.run: a plain value is not a list; want one such as ["/usr/bin/python3", "resize.py"]`,
		"kinds: {k: {command: {run: [a], env: {WARREN_X: b}}}}":                 `kinds.k.command: env "WARREN_X" begins with WARREN_, which is Warren's own`,
		"kinds: {k: {command: {run: [a], env: {A: [" + canary + "]}}}}":         `kinds.k.command.env.A: want a text that is not empty (the value is not shown)`,
		"kinds: {k: {command: {run: [a], env: [A=b]}}}":                         `kinds.k.command.env: a list is not a mapping; want entries such as "LANG: C.UTF-8"`,
		"kinds: {k: {command: {run: [a], grace: long}}}":                        `kinds.k.command.grace: "long" is not a duration`,
		"schedules: [a]":            `schedules: a list is not a mapping; want entries such as "nightly: {cron:`,
		"schedules: {s: {kind: k}}": `schedules.s: it says in 0 ways when it runs; want one of cron, every, once, manual`,
		"schedules: {s: {kind: k, cron: '* * * * *', every: 5m}}":           `schedules.s: it says in 2 ways when it runs`,
		"schedules: {s: {kind: k, cron: '99 * * * *'}}":                     `schedules.s: cron "99 * * * *": `,
		"schedules: {s: {kind: k, cron: '* * * * *', zone: Mars/Olympus}}":  `schedules.s: zone "Mars/Olympus" is not known here`,
		"schedules: {s: {kind: k, cron: '* * * * *', from: '05:00'}}":       `schedules.s: a window, from and to, needs every`,
		"schedules: {s: {kind: k, every: 0s}}":                              `schedules.s: every 0s is no period`,
		"schedules: {s: {kind: k, every: -5m}}":                             `schedules.s`,
		"schedules: {s: {kind: k, every: 15m, from: 23:00, to: 05:00}}":     `schedules.s: the window from 23:00 to 05:00 ends before it begins`,
		"schedules: {s: {kind: k, once: tomorrow}}":                         `schedules.s.once: "tomorrow" is not RFC 3339`,
		"schedules: {s: {cron: '* * * * *'}}":                               `schedules.s has no kind; it names the handler`,
		"schedules: {s: {kind: k, cron: '* * * * *', catch_up: 1001}}":      `schedules.s.catch_up: "1001" is not a whole number from 0 to 1000`,
		"schedules: {s: {kind: k, cron: '* * * * *', paused: perhaps}}":     `schedules.s.paused: "perhaps" is neither true nor false`,
		"schedules: {s: {kind: k, cron: '* * * * *', priority: 7}}":         `schedules.s.priority: priority 7 is not configured`,
		"schedules: {s: {kind: k, cron: '* * * * *', args: {1: {[a]: b}}}}": `schedules.s.args: `,
		"schedules: {s: {kind: k, crom: '* * * * *'}}":                      `unknown key "crom" in schedules.s; the nearest known key is "cron"`,
		strings.ReplaceAll(kind, "%s", "delay: -1s"):                        `kinds.k.delay: duration "-1s" is negative`,
		strings.ReplaceAll(kind, "%s", "unique_by: to"):                     `kinds.k.unique_by: want the fields of the args`,
		strings.ReplaceAll(kind, "%s", "unique_by: []"):                     `kinds.k.unique_by: want the fields of the args`,
		strings.ReplaceAll(kind, "%s", "unique_by: [to], unique_for: soon"): `kinds.k.unique_for: "soon" is not a duration; write one such as 500ms, 30s, 1h30m or 14d, or until-start, or forever`,
		strings.ReplaceAll(kind, "%s", "encrypted: true"):                   `kinds.k.encrypted needs keys: make one with 'warren keys generate'`,
		strings.ReplaceAll(kind, "%s", "encrypted: maybe"):                  `kinds.k.encrypted: "maybe" is none of true, false`,
		strings.ReplaceAll(kind, "%s", "accept_plain: true"):                `kinds.k.accept_plain is for a kind that is encrypted`,
		"keys: " + canary:   `keys: key 1 of 1 has no name or no value; keys are NAME:BASE64`,
		"keys: a:" + canary: `keys: key 1 of 1 is not base64`,
		strings.ReplaceAll(kind, "%s", "unique_for: 1h"): `kinds.k.unique_for needs unique_by`,
		"a: &a {b: *a}": `warren.yaml`,
		"database_url: mysql://u:" + canary + "@h/":       `database_url: the value (not shown: it may hold a password) begins with none of the known schemes; want postgres://user@host/name or sqlite:PATH`,
		"database_url: " + canary:                         `database_url: `,
		"database_url: postgres://u:" + canary + "%@h/":   `is not a URL; percent-encode special characters of the password`,
		"database_url: postgres:" + canary:                `is not a URL`,
		"database_url: 'sqlite:'":                         `sqlite: names no file`,
		"database_url: [" + canary + "]":                  `database_url: a list is not a plain value`,
		"amqp_url: http://u:" + canary + "@h":             `amqp_url: address 1 (not shown: it may hold a password) is not an AMQP URL`,
		"amqp_url: 'amqp://h,amqp://u:" + canary + ",@h'": `amqp_url: address 2 (not shown`,
		"notify: {webhook: " + canary + "}":               `notify.webhook: the value (not shown: it may be a secret) is not an http or https URL`,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(config.Sources{ReadFile: files{"warren.yaml": text, "ok": "s", "empty": "\n"}.read})
			wantError(t, err, want, "warren.yaml")
		})
	}
}

// Where a secret may stand, a value of the wrong shape is not repeated; the place and the remedy are.
func TestSecretsOfTheWrongShape(t *testing.T) {
	t.Parallel()
	const address = "https://me:" + canary + "@hooks.example.org/" + canary
	for text, want := range map[string]string{
		"TOKEN=" + canary:                                                                    `warren.yaml:1: a plain value is not a mapping; want entries such as "schema: warren"`,
		"notify: " + address:                                                                 `warren.yaml:1: notify: a plain value is not a mapping; want entries such as "attempts: 5"`,
		"notify: [" + address + "]":                                                          `notify: a list is not a mapping`,
		"notify: {" + address + ": }":                                                        `unknown key (not shown: it may be a secret); the nearest known key is "notify.`,
		"kinds: '{mail: {webhook: {url: " + address + "}}}'":                                 `kinds: a plain value is not a mapping; want entries such as "mail: {webhook:`,
		"kinds: {k: " + address + "}":                                                        `kinds.k: a plain value is not a mapping`,
		"kinds: {k: {webhook: " + address + "}}":                                             `kinds.k.webhook: a plain value is not a mapping; want entries such as "url: \"https://example.org/jobs\""`,
		"kinds: {k: {webhook: {url: [" + address + "]}}}":                                    `kinds.k.webhook.url: a list is not a plain value`,
		"kinds: {k: {webhook: {" + address + ": }}}":                                         `unknown key (not shown: it may be a secret) in kinds.k.webhook; the nearest known key is`,
		"kinds: {k: {webhook: {url: http://h, 'secret=" + canary + "': x}}}":                 `unknown key (not shown: it may be a secret) in kinds.k.webhook`,
		"kinds: {k: {command: 'TOKEN=" + canary + " a'}}":                                    `kinds.k.command: a plain value is not a mapping; want entries such as "run: [`,
		"kinds: {k: {command: {run: 'curl -H " + canary + "'}}}":                             `kinds.k.command.run: a plain value is not a list; want one such as ["/usr/bin/python3", "resize.py"]`,
		"kinds: {k: {command: {run: {curl: " + canary + "}}}}":                               `kinds.k.command.run: a mapping is not a list; want one such as`,
		"kinds: {k: {command: {run: [a, {b: " + canary + "}]}}}":                             `kinds.k.command.run: the list has a mapping in it`,
		`kinds: {k: {command: {run: [a, "` + canary + `\0"]}}}`:                              `kinds.k.command: run has the character NUL in item 1 (not shown: it may be a secret)`,
		"kinds: {k: {command: {run: [a], env: TOKEN=" + canary + "}}}":                       `kinds.k.command.env: a plain value is not a mapping; want entries such as "LANG: C.UTF-8"`,
		"kinds: {k: {command: {run: [a], env: {TOKEN=" + canary + ": x}}}}":                  `kinds.k.command: env "TOKEN" has an = in its name`,
		"kinds: {k: {command: {run: [a], env: {TOKEN=" + canary + ": }}}}":                   `kinds.k.command.env.TOKEN: want a text that is not empty (the value is not shown)`,
		"kinds: {k: {command: {run: [a], env: {A=" + canary + ": x, A=" + canary + ": x}}}}": `key (not shown: it may be a secret) is in line 1 already; keep one of the two`,
		"kinds: {k: {command: {run: [a], TOKEN=" + canary + ": }}}":                          `unknown key (not shown: it may be a secret) in kinds.k.command; the nearest known key is`,
		"kinds: {k: {command: {rum: [a]}}}":                                                  `unknown key "rum" in kinds.k.command; the nearest known key is "run"`,
		"api_token: *" + canary:                                                              `warren.yaml: an alias (a value that begins with *) stands for nothing in this file; put the value into quotes`,
		"kinds: {k: {webhook: {url: http://h, secret_file: '" + address + "'}}}":             `kinds.k.webhook.secret_file: the value (not shown: it may be a secret) is an address; name a file that holds it`,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := load(text)
			wantError(t, err, want, "warren.yaml")
		})
	}
	for variable, want := range map[string]string{
		"WARREN_KINDS=" + address:                     `WARREN_KINDS: kinds: a plain value is not a mapping`,
		"WARREN_KINDS={k: {webhook: " + canary + "}}": `kinds.k.webhook: a plain value is not a mapping`,
		"WARREN_KEYS_FILE=" + address:                 `WARREN_KEYS_FILE: the value (not shown: it may be a secret) is an address; name a file that holds it`,
	} {
		_, err := load("", variable)
		wantError(t, err, want)
	}
}

func TestComplaintsOfTheEnvironment(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"WARREN_PRIORITES=1":                `environment: unknown variable WARREN_PRIORITES; the nearest known one is WARREN_PRIORITIES`,
		"WARREN_SCHEMA_FILE=x":              `unknown variable WARREN_SCHEMA_FILE`, // no secret
		"WARREN_DATABASE_URL=" + canary:     `unknown variable WARREN_DATABASE_URL; the nearest known one is DATABASE_URL`,
		"WARREN_=1":                         `unknown variable WARREN_`,
		"WARREN_CONCURRENCY=x":              `WARREN_CONCURRENCY: concurrency: "x" is not a whole number`,
		"WARREN_CONCURRENCY=[5]":            `WARREN_CONCURRENCY: concurrency: "[5]" is not a whole number`,
		"WARREN_PRIORITIES=10;20":           `WARREN_PRIORITIES: priorities: "10;20" is not a priority`,
		"WARREN_KINDS=mail":                 `WARREN_KINDS: kinds: a plain value is not a mapping`,
		"WARREN_KINDS={":                    `WARREN_KINDS: kinds: want a YAML mapping such as {mail: {webhook:`,
		"WARREN_KINDS=#":                    `WARREN_KINDS: kinds: want a YAML mapping`,
		"WARREN_KINDS={k: {prob: {}}}":      `WARREN_KINDS: unknown key "prob" in kinds.k; the nearest known key is "probe"`,
		"DATABASE_URL=mysql://" + canary:    `DATABASE_URL: database_url: the value (not shown`,
		"DATABASE_URL_FILE=/missing":        `DATABASE_URL_FILE: open /missing: file does not exist; name a file that can be read`,
		"DATABASE_URL_FILE=/empty":          `DATABASE_URL_FILE: /empty is empty; put the secret into it`,
		"AMQP_URL=amqp:" + canary:           `AMQP_URL: amqp_url: address 1 (not shown`,
		"WARREN_NOTIFY_WEBHOOK_FILE=/empty": `WARREN_NOTIFY_WEBHOOK_FILE: /empty is empty`,
	} {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(config.Sources{ReadFile: files{"/empty": "\n"}.read, Environ: []string{"HOME=/", variable}})
			wantError(t, err, want)
		})
	}
	_, err := load("", "AMQP_URL=none", "AMQP_URL_FILE=/x")
	wantError(t, err, "AMQP_URL and AMQP_URL_FILE are both set; keep one")
	_, err = config.Load(config.Sources{ReadFile: files{}.read, Flags: map[string]string{"schma": "x", "log-level": ""}})
	wantError(t, err, `unknown flag --schma; the nearest known key is "schema"`, `--log-level: log_level: "" is none of debug`)
}

// Not everything that begins like our variables is one.
func TestForeignVariables(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"WARREN_TEST_DATABASE_URL", "WARREN_JOB_ID", "WARREN_ATTEMPT", "WARREN_LEASE",
		"WARREN_SERVICE_HOST", "WARREN_SERVICE_PORT", "WARREN_SERVICE_PORT_HTTP", "WARREN_PORT", "WARREN_PORT_8080_TCP", "WARREN_PORT_8080_TCP_ADDR",
		"WARREN_API_SERVICE_HOST", "WARREN_API_PORT", "WARREN_API_PORT_80_TCP_PROTO", "warren_lower", "WARRENTY",
	} {
		if _, err := load("", name+"=x"); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
}

func TestAllComplaintsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load("shema: x\nconcurrency: 0\npriorities: [a]\nkinds: {k: {probe: {}, queu: q, timeout: x}, l: {}}", "WARREN_X=1", "WARREN_HINT_SIZE=0")
	wantError(t, err, `unknown key "shema"`, `concurrency: "0"`, `priorities: "a"`, `unknown key "queu"`, `kinds.k.timeout`, "kinds.l has 0 handlers", "WARREN_X", "WARREN_HINT_SIZE: hint_size")
	if lines := strings.Count(err.Error(), "\n") + 1; lines != 8 {
		t.Errorf("%d complaints, want 8:\n%v", lines, err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		"schema: a\nkinds: {mail: {webhook: {url: 'http://h', secret: x}}}", "priorities: [10, 20]", "retention: {finished: 14d}", "kinds:\n  p: {probe: {}}",
		"a: &a [*a]", "x: &x {<<: *x}", "kinds: &k {a: *k}", "? {a: b}\n: c", "!!binary aGk=: 1", "schema: !!set {a}", "%YAML 1.1\n---\nschema: a", "\xff\xfe", "kinds: {k: {command: {run: [a]}}}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load(text)
		if err != nil {
			return
		}
		rows := map[string]bool{}
		for _, s := range c.Settings() {
			if s.Key == "" || s.Origin == "" || rows[s.Key] {
				t.Errorf("row %+v is not complete, or there twice", s)
			}
			rows[s.Key] = true
		}
		if len(c.Priorities) == 0 || c.Concurrency < 1 || c.HintSize < 1 || c.MaxArgs < 2 || c.Schema == "" || c.DefaultQueue == "" || c.DrainTimeout < 0 {
			t.Errorf("accepted %q as %+v", text, c)
		}
		for name, k := range c.Kinds {
			if n := btoi(k.Webhook != nil) + btoi(k.Command != nil) + btoi(k.Probe != nil); n != 1 || k.Queue == "" || k.Timeout < 0 {
				t.Errorf("accepted kind %q as %+v", name, k)
			}
		}
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
