# What can be done with this repository. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# memory or redis: what `make demo` keeps its state in.
STORE ?= memory
# What `make rehearse` plays.
SCENARIO ?= bench/scenarios/large.toml
# More arguments for `make demo`, `make bench` and `make rehearse`, for example ARGS="--visitors 500".
ARGS ?=

TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
RELEASE := cargo build --release --locked -p queue-server -p ticket-server -p bench

.PHONY: help setup demo test test-gates fuzz lint fmt bench scale rehearse build-release

help: ## List what can be done here
	@echo "usage: make TARGET [STORE=memory|redis] [ARGS=…]"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
	  || sed -nE 's/^([a-z-]+):.*## (.*)/  make \1: \2/p' $(firstword $(MAKEFILE_LIST))

setup: ## Install what the tests need (redis-server, Chromium, Python packages); quick when it is there
	@scripts/setup.sh

demo: build-release ## A crowd of 3,000 for 2,000 seats, and a waiting page to join behind it; STORE=redis runs it on Redis
	@exec "$(TARGET_DIR)/release/bench" demo --store "$(STORE)" $(ARGS)

test: setup ## Build the workspace and run every test
	@scripts/test.sh

test-gates: setup ## nginx, Traefik and Envoy in front of a plain backend, as deploy/gates has them
	@scripts/test-gates.sh

fuzz: ## Fuzz wire messages, tokens, replies of stores and sequences of events, FUZZ_SECONDS (60) each
	@scripts/fuzz.sh

lint: ## Formatting, clippy, and, where installed, cargo-deny and shellcheck
	@scripts/lint.sh

fmt: ## Format the Rust sources
	cargo fmt --all

bench: build-release ## Criterion benches, then the servers under load beside a hello-world (a few minutes)
	@scripts/bench.sh $(ARGS)

scale: build-release ## 100,000 live waiters on this machine for ten minutes, all they see checked; ARGS="--scale 2000 --minutes 1"
	@exec "$(TARGET_DIR)/release/bench" scale $(ARGS)

rehearse: build-release ## A sale with 20,000 visitors and faults on a schedule, audited; SCENARIO=FILE ARGS="--visitors 2000"
	@exec "$(TARGET_DIR)/release/bench" rehearse "$(SCENARIO)" $(ARGS)

build-release:
	@$(RELEASE)
