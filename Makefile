# What a developer and CI run. `make` alone lists the targets.

# Pinned, so that a new linter never turns an old commit red.
GOLANGCI_LINT_VERSION := 2.15.0
GOVULNCHECK_VERSION   := 1.8.0

GO       ?= go
PACKAGES ?= ./...
# The timeout is generous: it only ends a run that hangs. Most tests wait for servers, not for a processor.
TESTFLAGS ?= -timeout=15m -parallel=4
# The SQLite driver is C translated to Go: under the detector it takes minutes to compile and runs at a
# tenth of its speed, and its races would not be ours. test/e2e builds the programs the same way.
RACEFLAGS := -race -gcflags=modernc.org/...=-race=false

TOOLS   := $(CURDIR)/.bin
LINT    := $(TOOLS)/golangci-lint
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/warrenq/warren/internal/cli.version=$(VERSION)

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the programs into bin/
	@for program in cmd/*/; do \
		[ -f "$$program/main.go" ] || continue; \
		echo "build $$(basename "$$program")"; \
		$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ "./$$program"; \
	done

# The first build compiles a database, so it is made quicker, at the price of programs that are a
# little slower than those of `make build`: nothing is inlined, debuggers get no data, and compilers
# collect their garbage less often. What is named first is compiled first: SQLite takes longest, and
# everything else fits beside it. exec, so that a signal to make's child is one to the demo.
.PHONY: demo
demo: ## Everything in one process, without a server: samples, a view of them, an HTTP API
	@echo 'building warren and producer into bin/ (the first time takes a minute)'
	@GOBIN=$(CURDIR)/bin CGO_ENABLED=0 GOGC=400 $(GO) install -trimpath -gcflags='all=-l -dwarf=false' -ldflags '$(LDFLAGS)' \
		modernc.org/sqlite/lib ./cmd/warren ./cmd/producer
	@exec bin/warren dev

# The servers are private and gone when it ends.
.PHONY: demo-servers
demo-servers: build ## The main job on private PostgreSQL and RabbitMQ: 400 jobs, two consumers with ranges
	$(GO) build -o $(TOOLS)/with-servers ./internal/testenv/cmd/with-servers
	$(TOOLS)/with-servers -- ./examples/demo/demo.sh

.PHONY: walkthrough
walkthrough: build ## Write docs/walkthrough.md: the contract, walked as a newcomer
	$(GO) build -o $(TOOLS)/with-servers ./internal/testenv/cmd/with-servers
	$(TOOLS)/with-servers -- ./docs/walkthrough/walk.sh > docs/walkthrough.md

# Lint and vet first: they are over in a minute, and what they find makes tests fail in stranger ways.
.PHONY: test
test: lint vet race-ready ## Everything that must hold: lint, vet, import arrows, all tests with real servers under -race
	$(GO) test -count=1 ./internal/arrows
	$(GO) build -o $(TOOLS)/with-servers ./internal/testenv/cmd/with-servers
	$(TOOLS)/with-servers -- $(GO) test $(RACEFLAGS) $(TESTFLAGS) $(PACKAGES)

.PHONY: test-short
test-short: ## The tests that need no server
	$(GO) test -short $(TESTFLAGS) $(PACKAGES)

.PHONY: lint
lint: $(TOOLS)/.golangci-lint-$(GOLANGCI_LINT_VERSION) ## Lint and check the formatting
	$(LINT) run --allow-parallel-runners $(PACKAGES)

.PHONY: vet
vet: ## go vet
	$(GO) vet $(PACKAGES)
	cd test/chaos && $(GO) vet ./...

.PHONY: fmt
fmt: $(TOOLS)/.golangci-lint-$(GOLANGCI_LINT_VERSION) ## Format the code
	$(LINT) fmt $(PACKAGES)

.PHONY: tidy-check
tidy-check: ## Check that go.mod and go.sum are tidy
	$(GO) mod tidy -diff

# Exit code 3 means findings. On a network without the vulnerability database there is nothing to
# compare with: that is said, and is no failure.
.PHONY: vuln
vuln: ## Look for known vulnerabilities in what is called
	@GOBIN=$(TOOLS) $(GO) install golang.org/x/vuln/cmd/govulncheck@v$(GOVULNCHECK_VERSION)
	@code=0; out=$$($(TOOLS)/govulncheck $(PACKAGES) 2>&1) || code=$$?; printf '%s\n' "$$out"; \
	if [ $$code -ne 0 ] && [ $$code -ne 3 ] && grep -q 'vuln.go.dev' <<<"$$out"; then \
		printf '\n!!! NOT CHECKED for vulnerabilities: the database at vuln.go.dev cannot be reached.\n!!! Run "make vuln" on a network that reaches it.\n\n' >&2; \
	else exit $$code; fi

.PHONY: check
check: tidy-check test vuln ## Everything before a release: tidy-check, test, vuln

# Its own module. The servers are private; the first run installs what is missing. A failed run
# prints its seed, and SEED=… repeats its faults.
.PHONY: chaos
chaos: ## Prove that nothing is lost: every fault, in less than ten minutes; writes docs/reliability.md
	cd test/chaos && $(GO) test -count=1 ./... && $(GO) run . $(if $(SEED),-seed $(SEED))

.PHONY: chaos-quick
chaos-quick: ## The cut of that for every push, about two minutes
	cd test/chaos && $(GO) test -count=1 ./... && $(GO) run . -quick $(if $(SEED),-seed $(SEED))

# Its own module, with the peers that Warren is compared with. The servers are private. BENCHFLAGS may name
# tests (-tests work,bulk), rounds or a scale; the page is written by a whole run only.
.PHONY: bench
bench: ## Warren beside its peers; writes docs/benchmarks.md (about an hour; leave the machine alone)
	cd bench && $(GO) test -count=1 ./... && $(GO) run . $(BENCHFLAGS)

.PHONY: bench-quick
bench-quick: ## A small cut of that within four minutes; adds JSON lines to bench/out/quick.json
	cd bench && $(GO) run . -quick $(BENCHFLAGS)

# The race detector needs a C compiler.
.PHONY: race-ready
race-ready:
	@command -v "$$($(GO) env CC)" >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'install gcc, which the race detector needs'; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -qq -y --no-install-recommends gcc libc6-dev >/dev/null 2>&1 || \
			{ apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev >/dev/null; }; \
	else \
		echo 'go test -race needs a C compiler: install gcc and libc6-dev (Debian), or run as root on Debian' >&2; exit 1; \
	fi

# A binary of another version in .bin/ is replaced; the mark says which version has been seen there.
$(TOOLS)/.golangci-lint-$(GOLANGCI_LINT_VERSION):
	@if ! $(LINT) version 2>/dev/null | grep -qF 'version $(GOLANGCI_LINT_VERSION) '; then \
		echo 'build golangci-lint v$(GOLANGCI_LINT_VERSION) (some minutes, once)'; \
		GOBIN=$(TOOLS) CGO_ENABLED=0 $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI_LINT_VERSION); \
	fi
	@mkdir -p $(TOOLS) && rm -f $(TOOLS)/.golangci-lint-* && touch $@
