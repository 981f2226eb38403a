.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
export PATH := /usr/sbin:/sbin:$(PATH)

.PHONY: help setup demo test test-unit test-vm lint types layers check bench fuzz mutants golden stress soak kubernetes clean

help:  ## Show the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## System packages, a locked virtual environment in .venv, the C shim
	@hack/setup

demo: setup $(if $(filter kubernetes,$(DATASTORE)),kubernetes)  ## Three nodes, seven pods, BGP, one policy: shown and checked (JSON=FILE keeps the result, DATASTORE=etcd or kubernetes, MODE=vxlan and others show how packets cross)
	@$(BIN)/tortie lab demo $(if $(JSON),--json $(JSON)) $(if $(DATASTORE),--datastore $(DATASTORE)) $(if $(MODE),--mode $(MODE))

test: setup  ## Every test; says how many were collected and run
	@hack/test

test-unit: setup  ## The tests that need neither root nor a network
	@$(BIN)/pytest -q -m "not kernel and not lab and not etcd and not kubernetes" tests

test-vm: setup  ## The tests that need Debian's own kernel, in an emulated machine (ARGS="-k ipip")
	@hack/vm/test $(ARGS)

bench: setup  ## Ratios beside a peer or a floor, five rounds (JSON=FILE keeps the figures, ONLY=ROW takes one)
	@hack/bench-setup
	@$(BIN)/python -m tests.bench $(if $(JSON),--json $(JSON)) $(if $(ONLY),--only $(ONLY))

lint: setup  ## ruff and the layer contracts
	@$(BIN)/ruff check src tests && $(BIN)/ruff format --check src tests && $(BIN)/lint-imports

types: setup  ## mypy --strict over src and tests
	@$(BIN)/mypy

check: lint types  ## lint and types

fuzz: setup  ## Random clusters, policies and packets before three judges, for MINUTES (default 60)
	@TORTIE_FUZZ_SECONDS=$$(( $(or $(MINUTES),60) * 15 )) TORTIE_FUZZ_SEED=$(or $(SEED),$$RANDOM) \
		$(BIN)/pytest -q -s --timeout 0 -m fuzz tests/fuzz

mutants: setup  ## Seventy-five planted bugs, one at a time: the suite must notice every one
	@$(BIN)/python -m tests.mutants

golden: setup  ## Write the golden files anew; read the difference before you commit it
	@TORTIE_GOLDEN=1 $(BIN)/pytest -q tests/unit/dataplane/test_golden.py tests/unit/bgp/test_config.py tests/architecture/test_statements.py

stress: setup  ## IPAM: 20 nodes x 4 processes, 20,000 addresses, 40 killed, on sqlite and etcd (ARGS="--backend sqlite ...")
	@$(BIN)/python -m tests.stress $(ARGS)

soak: setup  ## Faults at length: the datastore away for a minute, agent and BIRD stopped for half a minute
	@TORTIE_SOAK=1 $(BIN)/pytest -q --timeout 900 tests/lab/test_faults.py

kubernetes:  ## Kubernetes' own programs for the lab and the tests, built once per machine; says how long it took
	@hack/kubernetes/build

clean:  ## Remove what the targets above made in this folder
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis src/*.egg-info
