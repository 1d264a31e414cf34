# The commands that everybody uses. `make help` lists them.

CARGO ?= cargo
# For `make run`: more flags of `larder serve`, such as ARGS="--cores 0-3 --memory 4GiB"; for `make bench`: of `peers`.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help build run test test-full conformance fuzz bench demo demo-cluster

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build larder, larder-cli and loadgen into target/release
	@tools/scripts/setup build
	@$(CARGO) build --release --locked

run: build ## Build and start a single node on 127.0.0.1:7400 (ARGS="…" passes flags)
	@exec target/release/larder serve $(ARGS)

test: ## Everything that has to hold: format, lints, docs, all tests (large sizes at 1/20)
	@tools/scripts/test

test-full: ## The same with the large sizes whole
	@tools/scripts/test --full

conformance: build ## Run Redis clients in several languages against Larder and redis-server (pip, npm, cargo)
	@tools/conformance/run

fuzz: ## Run libFuzzer on both dialects, 100,000,000 inputs each (ARGS="resp" for one, RUNS=… for fewer)
	@tools/fuzz/run $(ARGS)

bench: build ## Measure Larder beside redis-server and memcached (ARGS="--quick" for a short one)
	@tools/scripts/bench $(ARGS)

demo: build ## Start a server and watch ten seconds of Zipf load
	@tools/scripts/demo

demo-cluster: build ## Read a table of scores through three nodes with etcd, and count what its origin sees
	@tools/scripts/setup test
	@tools/demo/students.py
