package arrows_test

import (
	"path"
	"slices"
	"strings"
)

// A pattern names packages. This module's root is ".", a package below it "./jobstore", with all
// below that "./jobstore/..."; std is the standard library; base:*test is every package of this
// module whose last element ends in test; anything else is an import path, again with "/...".

// The drivers, each of which has one room.
const (
	pgx        = "github.com/jackc/..."
	amqp       = "github.com/rabbitmq/..."
	sqlite     = "modernc.org/..."
	cobra      = "github.com/spf13/..."
	prometheus = "github.com/prometheus/..."
)

// rule says what some packages must not import.
type rule struct {
	why    string
	of     []string // the packages it is about,
	except []string // but not these
	deny   []string // what they must not import,
	allow  []string // though these they may
	deep   bool     // also through others, not only directly
}

// rules are the arrows. A rule about a package that does not exist holds.
func rules() []rule {
	return slices.Concat(contractRules(), driverRules(), layerRules(), kitRules())
}

// contractRules keep the two contracts free, and those who fulfil them apart.
func contractRules() []rule {
	return []rule{
		{
			why: "the contracts import the standard library only",
			of:  []string{"./jobstore", "./broker"}, deny: []string{"..."}, allow: []string{"std"}, deep: true,
		},
		{
			why: "a store knows its contract and nothing else of ours",
			of:  []string{"./jobstore/..."}, deny: []string{"./...", amqp}, allow: []string{"./jobstore/..."}, deep: true,
		},
		{
			why: "a broker knows its contract and nothing else of ours",
			of:  []string{"./broker/..."}, deny: []string{"./...", pgx, sqlite}, allow: []string{"./broker/..."}, deep: true,
		},
		{
			why: "drivers never meet each other",
			of:  []string{"./jobstore/postgres/..."}, deny: []string{"./jobstore/sqlite/...", sqlite}, deep: true,
		},
		{
			why: "drivers never meet each other",
			of:  []string{"./jobstore/sqlite/..."}, deny: []string{"./jobstore/postgres/...", pgx}, deep: true,
		},
	}
}

// driverRules give every foreign protocol its one room.
func driverRules() []rule {
	only := func(what string, deny []string, rooms ...string) rule {
		return rule{why: what, of: []string{"./..."}, except: append(rooms, "./internal/testenv/..."), deny: deny}
	}
	return []rule{
		only("only broker/rabbitmq speaks AMQP", []string{amqp}, "./broker/rabbitmq/..."),
		only("only jobstore/postgres speaks pgx", []string{pgx}, "./jobstore/postgres/..."),
		only("only jobstore/sqlite speaks SQLite", []string{sqlite}, "./jobstore/sqlite/..."),
		only("only internal/cli speaks cobra", []string{cobra}, "./internal/cli/..."),
		only("only internal/metrics speaks Prometheus", []string{prometheus}, "./internal/metrics/..."),
	}
}

// layerRules keep each layer from knowing those above it.
func layerRules() []rule {
	engine := []string{
		"./internal/dispatch/...", "./internal/relay/...", "./internal/worker/...",
		"./internal/completer/...", "./internal/sweeper/...", "./internal/lifecycle/...", "./internal/journal/...",
	}
	above := []string{
		"./internal/app/...", "./internal/cli/...", "./internal/config/...", "./internal/metrics/...",
		"./cmd/...", "./handlers/...", "./web/...", "./warrentest/...",
	}
	drivers := []string{pgx, amqp, sqlite, cobra, prometheus, "./jobstore/...", "./broker/..."}
	contracts := []string{"./jobstore", "./broker"}
	return []rule{
		{
			why: "whoever imports the root compiles no driver and no command line",
			of:  append([]string{"."}, engine...), deny: slices.Concat(drivers, above), allow: contracts, deep: true,
		},
		{
			why: "the parts of the engine do not know the public API around them",
			of:  engine, deny: []string{"."}, deep: true,
		},
		{
			why: "stock handlers are worked examples of the public API",
			of:  []string{"./handlers/..."}, deny: []string{"./..."}, allow: []string{".", "./jobstore", "./handlers/..."},
		},
		{
			why: "pages and the JSON API are built on the public API",
			of:  []string{"./web/..."}, deny: []string{"./..."}, allow: []string{".", "./jobstore", "./web/..."},
		},
		{
			why: "handlers and pages work with every database and broker",
			of:  []string{"./handlers/...", "./web/..."}, deny: drivers, allow: contracts, deep: true,
		},
		{
			why: "a user's unit test needs no server",
			of:  []string{"./warrentest/..."}, deny: []string{"./...", pgx, amqp},
			allow: []string{".", "./jobstore", "./jobstore/sqlite/...", "./warrentest/..."},
		},
		{
			why: "a SQLite user compiles neither pgx nor AMQP",
			of:  []string{".", "./jobstore/sqlite/...", "./warrentest/..."}, deny: []string{pgx, amqp}, deep: true,
		},
		{
			why: "examples are programs of users",
			of:  []string{"./examples/..."}, deny: []string{"./..."},
			allow: []string{".", "./jobstore/...", "./broker/...", "./handlers/...", "./web/...", "./examples/..."},
		},
		{
			why: "only the assembly, internal/app, knows which databases and brokers there are",
			of:  []string{"./..."},
			except: []string{
				"./internal/app/...", "./jobstore/...", "./broker/...", "./warrentest/...", "./internal/testenv/...",
				"./examples/...", "base:*test",
			},
			deny: []string{"./jobstore/...", "./broker/..."}, allow: contracts,
		},
		{
			why: "the assembly does not know the command line",
			of:  []string{"./internal/app/..."}, deny: []string{"./internal/cli/...", "./cmd/..."}, deep: true,
		},
		{
			why: "a program is its command line",
			of:  []string{"./cmd/..."}, except: []string{"./cmd/consumer"}, deny: []string{"..."}, allow: []string{"std", "./internal/cli/..."},
		},
		{
			why: "the consumer is its command line and what measures it",
			of:  []string{"./cmd/consumer"}, deny: []string{"..."},
			allow: []string{"std", "./internal/cli/...", "./internal/app", "./internal/metrics"},
		},
		{
			why: "only the consumer links Prometheus, which takes long to compile",
			of:  []string{"./cmd/...", "./internal/cli/..."}, except: []string{"./cmd/consumer"}, deny: []string{prometheus}, deep: true,
		},
	}
}

// kitRules keep what only tests use out of what users run.
func kitRules() []rule {
	return []rule{{
		why: "test kits never reach production binaries",
		of:  []string{"./..."}, except: []string{"base:*test", "./internal/testenv/..."},
		deny: []string{
			"testing/...", "net/http/httptest", "base:*test", "./internal/testenv/...",
			"go.uber.org/goleak/...", "github.com/google/go-cmp/...", "github.com/rogpeppe/go-internal/...", "pgregory.net/rapid/...",
		},
		deep: true,
	}}
}

// is reports whether the package is one of those the patterns name.
func is(pkg string, standard bool, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if pattern == "..." {
			return true
		}
		if pattern == "std" {
			return standard
		}
		if base, ok := strings.CutPrefix(pattern, "base:"); ok {
			matched, err := path.Match(base, path.Base(pkg))
			return err == nil && matched && strings.HasPrefix(pkg, "./")
		}
		tree, ok := strings.CutSuffix(pattern, "/...")
		return pkg == tree || ok && strings.HasPrefix(pkg, tree+"/")
	})
}
