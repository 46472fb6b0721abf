# SPDX-License-Identifier: Apache-2.0
# `make` lists the targets. Each one that needs the environment sets it up first.

VENV := .venv/bin
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help setup objects perf-objects lint format lock abi verifier-cost test \
	test-nightly test-kernels fuzz soak demo bench bench-full bench-smoke package deb man \
	clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

setup: ## packages, .venv, objects, editable install, bpffs; quick when done (root)
	@tools/setup.sh

objects: ## compile the BPF programs into loader/ilax/objects/
	@$(PYTHON) tools/build_objects.py

lint: setup ## formats, types, licences, shell; abi.lock and verifier cost are current
	@tools/lint.sh

format: setup ## apply clang-format and ruff
	@git ls-files -z --cached --others --exclude-standard '*.c' '*.h' | \
		xargs -0 clang-format-19 -i
	@$(VENV)/ruff check --fix --exit-zero --quiet .
	@$(VENV)/ruff format --quiet .

abi: setup ## write maps_schema/abi.lock anew
	@$(VENV)/python tools/abi_lock.py

verifier-cost: setup ## measure perf/verifier_cost.csv anew (root)
	@$(VENV)/python tools/verifier_cost.py

lock: ## pin requirements/*.in anew; UPGRADE=1 takes newer versions
	@tools/lock.sh $(if $(UPGRADE),--upgrade)

test: setup ## all tests (root); ARGS="-k name" chooses
	@$(VENV)/python -m pytest $(ARGS)

test-nightly: setup ## 100000 cases of each property; killed at every step (root)
	@ILAX_CASES=100000 ILAX_STEPS=all $(VENV)/python -m pytest -o faulthandler_timeout=7200 \
		tests/datapath/test_properties.py tests/stateful \
		tests/e2e/test_every_step.py $(ARGS)

test-kernels: setup ## the same programs on Linux 6.1, 6.12 and this one; ARGS=--ci for less (root)
	@tests/kernels/fetch.sh build/kernels || echo 'kernels: not all are here'
	@tests/kernels/fetch_headers.sh build/kernels || echo 'kernels: no headers, so no trace'
	@$(VENV)/python tests/kernels/run.py $(ARGS) build/kernels

fuzz: setup ## coverage-guided, with sanitizers; SECONDS= or RUNS= for each target
	@PYTHONPATH=tests:tools $(VENV)/python -m fuzz.run $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(RUNS),--runs $(RUNS)) $(ARGS)

soak: setup ## traffic, changes and mishaps at once; MINUTES=30; build/soak.json (root)
	@mkdir -p build
	@PYTHONPATH=tests:tools $(VENV)/python -m soak --minutes $(or $(MINUTES),30) \
		--output build/soak.json $(ARGS)

demo: setup ## three hosts in network namespaces, a task moves; build/demo.json (root)
	@$(VENV)/python demo/run.py

perf-objects: setup
	@$(VENV)/python tools/build_objects.py --output build/perf perf/bpf/*.bpf.c
	@$(MAKE) --no-print-directory $(PERF_PROGRAMS)

PERF_PROGRAMS := $(patsubst %,build/perf/%,accept ask awake connect echo flood sink)
build/perf/%: perf/programs/%.c perf/programs/common.h
	@mkdir -p build/perf
	@$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror $< -o $@

bench: perf-objects ## measure; build/bench.json, a table, docs/perf/ (root)
	@perf/ilax-perf run --output build/bench.json --publish docs $(ARGS)

bench-full: ## the same with all cells of all matrices, half an hour
	@$(MAKE) --no-print-directory bench ARGS="--full $(ARGS)"

bench-smoke: perf-objects ## does measuring work, and is the result sane? two minutes (root)
	@perf/ilax-perf run --smoke --output build/bench-smoke.json $(ARGS)

package: setup ## wheel and sdist, with the compiled objects, into dist/
	@$(VENV)/python -m hatchling build -d dist -t sdist -t wheel

deb: setup ## Debian package with all that it needs from Python, into dist/
	@$(VENV)/python tools/deb.py dist

man: setup ## man pages of all commands, into build/man/
	@$(VENV)/python tools/man_pages.py build/man

clean: ## remove what was built, and .venv
	rm -rf build dist .venv loader/ilax/objects .mypy_cache .ruff_cache .pytest_cache .hypothesis
