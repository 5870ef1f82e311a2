# The two that matter: `make demo` and `make test`. Each sets up what a fresh Debian machine with Rust lacks.
.DEFAULT_GOAL := help
.PHONY: help demo test check release bench endurance openapi

help: ## Lists what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Starts Runlog, archives ten real run logs, fetches them back and proves that nothing is missing
	@.ci/setup build
	cargo build --locked
	@target/debug/runlog demo

test: ## Runs all tests
	@.ci/setup test
	cargo test --workspace --locked

check: ## Runs what a change must pass: format, lints and tests
	.ci/run

release: ## Builds target/release/runlog, for production
	@.ci/setup build
	cargo build --locked --release

openapi: ## Makes docs/openapi.json anew, after a change to a route or a body
	RUNLOG_KEEP_OPENAPI=1 cargo test --locked -p runlog-server --test api -- openapi

endurance: ## Kills the real binary 200 times on each catalog, takes nodes and places away, and counts (half an hour)
	@.ci/setup test
	tests/endurance/run 200

bench: ## Measures fetch, ingest, page and service against other tools (minutes; see bench/README.md)
	@.ci/setup test
	bench/fetch/run
	bench/ingest/run
	bench/page/run
	bench/api/run
