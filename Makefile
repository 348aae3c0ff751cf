# The targets that matter: run, test. Everything they need beyond Go, make and
# a Debian system they install themselves.

GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM     = gotest.tools/gotestsum@v1.13.0
GOVULNCHECK   = golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT    = github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GORELEASER    = github.com/goreleaser/goreleaser/v2@v2.16.0
CYCLONEDX     = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0

GO      ?= go
GOVULNDB ?= https://vuln.go.dev
PKG     ?= ./...
ONLY    ?=
ROUNDS  ?= 100
FUZZTIME ?= 60s
MINUTES ?= 120
SEED    ?=
LDFLAGS ?= -s -w
# As Caddy's own releases and xcaddy: data bases for Caddy's CA that nobody asks for.
TAGS    ?= nobadger,nomysql,nopgx

.PHONY: demo run build test lint vuln attack catchup powercut cluster bench fuzz release release-check clean help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## bin/caddy, with the modules of this repository
	CGO_ENABLED=0 $(GO) build -trimpath -tags "$(TAGS)" -ldflags "$(LDFLAGS)" -o bin/caddy ./cmd/caddy

run: build ## Caddy with Caddyfile.example; its data stays below ./run
	@echo "The password of the notify endpoint is $${NOTIFY_PASSWORD:-try-it}; stop with Ctrl-C."
	NOTIFY_PASSWORD=$${NOTIFY_PASSWORD:-try-it} XDG_DATA_HOME=$(CURDIR)/run XDG_CONFIG_HOME=$(CURDIR)/run \
		bin/caddy run --config Caddyfile.example --adapter caddyfile

demo: build ## everything at once: a throw-away Dovecot, Caddy with its page, a mail every few seconds
	./internal/dovecottest/install.sh
	$(GO) run ./demo -caddy bin/caddy

test: ## all tests with the race detector, on a real Dovecot; make lint vets them
	./internal/dovecottest/install.sh
	./internal/pushtest/install.sh
	./internal/apachetest/install.sh
	./internal/delivery/webhook/renderers/install.sh
	./internal/endtoend/install.sh
	./internal/endtoend/browser/install.sh
	./internal/powercut/install.sh
	$(GO) build -race -o bin/caddy-race ./cmd/caddy
	$(GO) build -o bin/caddy-command ./cmd/caddy
	mkdir -p .cache
	CADDY_TEST_BINARY=$(CURDIR)/bin/caddy-race CADDY_TEST_COMMAND=$(CURDIR)/bin/caddy-command $(GO) run $(GOTESTSUM) --format pkgname-and-test-fails --format-hide-empty-pkg \
		--jsonfile-timing-events .cache/tests.json -- -race -vet=off -timeout 30m $(PKG); status=$$?; \
		echo "the slowest tests:"; $(GO) run $(GOTESTSUM) tool slowest --jsonfile .cache/tests.json --threshold 1s --num 10; exit $$status

lint: ## golangci-lint and gofumpt; actionlint
	$(GO) run $(GOLANGCI_LINT) run $(PKG)
	$(GO) run $(ACTIONLINT)

vuln: ## known vulnerabilities in what is linked in, where their database can be reached
	@if curl --silent --fail --max-time 20 --output /dev/null $(GOVULNDB)/index/db.json; then \
		$(GO) run $(GOVULNCHECK) -db $(GOVULNDB) $(PKG); \
	else \
		echo "vuln: $(GOVULNDB) cannot be reached: NOTHING WAS CHECKED" >&2; \
	fi

attack: ## what attackers try, for a minute each; make test does it for some seconds
	./internal/dovecottest/install.sh
	$(GO) build -race -o bin/caddy-race ./cmd/caddy
	CADDY_TEST_BINARY=$(CURDIR)/bin/caddy-race $(GO) test -race -count=1 -timeout 60m ./internal/attack -attack 1m

catchup: build ## what the catch-up promises, at full size, for an hour; make test does it smaller
	./internal/dovecottest/install.sh
	CADDY_TEST_BINARY=$(CURDIR)/bin/caddy $(GO) test -count=1 -timeout 0 -v -parallel 1 -run '^TestCatchUp' ./internal/endtoend -catchup.full

powercut: ## power cuts under load, ROUNDS=100 in a row on one disk, as root; make test makes some
	./internal/powercut/install.sh
	POWERCUT_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -v -run '^TestPowerCut' ./internal/queue

cluster: build ## faults of a cluster of three Caddys and three NATS servers for MINUTES=120, as root, from SEED= on; make test makes some
	CLUSTER_MINUTES=$(MINUTES) CLUSTER_SEED=$(SEED) CADDY_TEST_BINARY=$(CURDIR)/bin/caddy $(GO) test -count=1 -timeout 0 -v -run '^TestCluster$$' ./internal/clustertest

bench: build ## the figures of bench/RESULTS.md; ONLY=accept,lmtp for some of them
	$(GO) run ./bench -caddy bin/caddy -only "$(ONLY)"

# Only the packages of this repository are instrumented: everything else is
# taken from the cache of the build.
fuzz: ## each fuzz test for a minute; FUZZTIME=2000x with so many values
	mkdir -p .cache
	@set -e; for file in $$(grep -rl '^func Fuzz' --include='*_test.go' .); do \
		folder=$$(dirname $$file); \
		$(GO) test -c -vet=off -gcflags="$$($(GO) list -m)/...=-d=libfuzzer" -o .cache/fuzz.test $$folder; \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "$$folder $$name"; \
			(cd $$folder && $(CURDIR)/.cache/fuzz.test -test.run '^$$' -test.fuzz "^$$name$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzcachedir $(CURDIR)/.cache/fuzz/$$folder); \
		done; done

release-check: ## what a release consists of, and its .deb in a Debian of its own, as root; TARGETS=linux_amd64 for one of them
	GOBIN=$(CURDIR)/.cache/bin $(GO) install $(GORELEASER)
	GOBIN=$(CURDIR)/.cache/bin $(GO) install $(CYCLONEDX)
	PATH=$(CURDIR)/.cache/bin:$$PATH ./packaging/check.sh "$(TARGETS)"

release: ## a draft of the release of the tag that is checked out; the workflow does this
	GOBIN=$(CURDIR)/.cache/bin $(GO) install $(GORELEASER)
	GOBIN=$(CURDIR)/.cache/bin $(GO) install $(CYCLONEDX)
	PATH=$(CURDIR)/.cache/bin:$$PATH goreleaser release --clean

clean:
	rm -rf bin run dist .cache packaging/generated
