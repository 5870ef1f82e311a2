# Every build but that of a release is one of the whole workspace with these features, so that programs and tests share it.
together := --workspace --locked --features runlog-cli/failpoints

# The main targets are `make demo` and `make test`. Each installs what a fresh Debian machine with Rust lacks.
.DEFAULT_GOAL := help
.PHONY: help demo test web check release release-artifacts reference docs bench endurance openapi

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: web ## Starts Runlog, archives ten real run logs, fetches them over HTTP and verifies that nothing is missing
	@.ci/setup build
	cargo build $(together) --bin runlog
	@target/debug/runlog demo

# The tests use failpoints; the endurance tests use the program that they built.
test: web ## Runs all tests
	@.ci/setup test
	cargo test $(together)

# The sources of the web UI. It is rebuilt if one of them is newer than the build.
web_sources := $(shell find web -type f -not -path 'web/node_modules/*' -not -path 'web/dist/*' -not -path 'web/browse/*' \
    -not -name '*.gen.ts') docs/openapi.json

web: web/dist/index.html ## Builds the web UI, which is embedded in the program

web/dist/index.html: $(web_sources) web/node_modules/.package-lock.json
	npm --prefix web run build
	@touch $@

web/node_modules/.package-lock.json: web/package-lock.json
	@.ci/setup build
	npm --prefix web ci
	@touch $@

check: ## Runs all checks that a change must pass: formatting, lints and tests
	.ci/run

release: web ## Builds target/release/runlog, for production
	@.ci/setup build
	cargo $(auditable) build --locked --release

# With cargo-auditable, the program contains the list of its libraries, which scanners for vulnerabilities read.
auditable := $(if $(shell command -v cargo-auditable),auditable)

# BINARY names another program to pack, for trials: make release-artifacts BINARY=target/debug/runlog
ifeq ($(origin BINARY),undefined)
BINARY := target/release/runlog
release-artifacts: release
endif

release-artifacts: ## Builds the archive, the packages and the image of a release, with checksums, in target/packages
	@.ci/setup packages
	deploy/packages/all $(BINARY) target/packages

reference: ## Updates docs/reference after a change to a command or a setting
	RUNLOG_KEEP_REFERENCE=1 cargo test $(together) --test outside -- reference

docs: ## Builds the documentation as a website in target/book/html, and checks its links
	@.ci/setup docs
	docs/book/build

openapi: ## Updates docs/openapi.json after a change to a route or a body
	RUNLOG_KEEP_OPENAPI=1 cargo test $(together) --test api -- openapi

endurance: ## Kills the binary 200 times on each catalog, disconnects nodes, storage and collectors, and counts records (an hour)
	@.ci/setup test
	tests/endurance/run 200 2000

bench: ## Measures fetch, ingest, page and service against other tools (minutes; see bench/README.md)
	@.ci/setup test
	bench/fetch/run
	bench/ingest/run
	bench/page/run
	bench/api/run
	bench/collect/run
