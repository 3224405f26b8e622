# `make run` and `make test` need Python 3.11+ and make; everything else they fetch themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt
PAGE := pipeline/serve/page/dist/.built

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run run-bare page dist screenshots test coverage test-unit test-slow test-newest faults test-kubernetes check map page-models format bench lock clean clean-data

help: ## say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@echo "==> making the virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $(MADE)

# What running needs; what developing needs comes on top of it.
$(RUNS): pyproject.toml constraints.txt | $(MADE)
	@echo "==> installing what running needs (once; a minute or two)"
	@$(INSTALL) -e '.[demo]'
	@touch $(RUNS)

$(READY): pyproject.toml constraints.txt | $(MADE)
	@echo "==> installing what running and developing need (once; a few minutes)"
	@$(INSTALL) -e '.[dev]'
	@mkdir -p build/names/endpoint_analytics
	@for d in agents infra pipeline schemas; do ln -sfn ../../../$$d build/names/endpoint_analytics/$$d; done
	@for f in endpoint_analytics/*.py endpoint_analytics/py.typed; do ln -sfn ../../../$$f build/names/$$f; done
	@touch $(RUNS) $(READY)

$(PAGE): build_page.py package.json package-lock.json $(shell find pipeline/serve/page -type f -not -path '*/dist/*') | $(MADE)
	@echo "==> building the page"
	@$(BIN)/python build_page.py
	@touch $(PAGE)

dist: $(RUNS) $(PAGE) ## wheel and source distribution in dist/, with the page in both
	@rm -rf dist
	@$(BIN)/python -m build --version >/dev/null 2>&1 || $(INSTALL) build
	@$(BIN)/python -m build --outdir dist .

run-bare: $(RUNS) $(PAGE) ## the same without the demo, for agents of your own
	@$(BIN)/endpoint-analytics run --no-demo

run: $(RUNS) $(PAGE) ## Kafka, ClickHouse, worker, query service and a demo endpoint under live traffic
	@$(BIN)/endpoint-analytics run

page: $(PAGE) ## bundle the page, with the machine's Node or the one of a wheel

screenshots: $(READY) $(PAGE) ## pictures of the page in build/screenshots, by a real browser
	@$(BIN)/python -m tests.page.screenshots

check: $(READY) $(PAGE) ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/mypy -p endpoint_analytics
	@$(BIN)/mypy --follow-imports silent tests/benchmarks tests/support
	@$(BIN)/python build_page.py check

test: check ## lint, types and all tests, on a real Kafka and a real ClickHouse engine
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-unit: $(READY) ## the tests that start no process and open no connection: under two minutes
	@$(BIN)/python -m pytest -p tests.support.unit -n 2 --dist loadfile -q

coverage: $(READY) ## branch coverage of the unit tests, file by file
	@$(BIN)/python -m pytest -p tests.support.unit -n 2 --dist loadfile -q --cov --cov-branch --cov-report=term

test-slow: $(READY) $(PAGE) ## what `make test` leaves out, since it takes minutes: three brokers, full disks, faults in every variant
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m slow --ignore tests/agents/kubernetes/real

test-newest: $(READY) ## the fast part of the tests on the newest Python that this machine has
	@$(BIN)/python -m tests.support.newest_python

faults: $(READY) ## break every part, one by one and mixed: SEED=n of the first campaign, SEEDS=10, SECONDS=30 each, BUSY=cores kept busy
	@$(BIN)/python -m pytest tests/faults -m "slow or not slow" -q
	@$(BIN)/python -m tests.faults.campaign $(if $(SEED),--seed $(SEED)) --seeds $(or $(SEEDS),10) --seconds $(or $(SECONDS),30) --busy $(or $(BUSY),0)

test-kubernetes: $(READY) ## the agent for Kubernetes and autoscaling before a real kube-apiserver, built first (15 min, needs Go)
	@$(BIN)/python -m tests.agents.kubernetes.real.judge
	@$(BIN)/python -m pytest tests/agents/kubernetes/real -m slow -q

map: $(READY) ## draw the map of rooms in docs/architecture.md
	@$(BIN)/python -m tests.support.rooms

page-models: $(READY) ## write the page's types from the API's OpenAPI document
	@$(BIN)/python -m tests.support.page_models

format: $(READY) ## format the sources
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(READY) ## print the benchmarks, each beside a peer in the same run
	@$(BIN)/python -m tests.benchmarks

lock: ## pin the newest versions that pyproject.toml allows
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install -q pip-tools
	@build/lock/bin/pip-compile -q --upgrade --extra dev --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options -o constraints.txt pyproject.toml
	@sed -i "/^endpoint-analytics /d" constraints.txt

clean: ## remove what was built
	@rm -rf $(VENV) build dist node_modules pipeline/serve/page/dist *.egg-info .mypy_cache .ruff_cache .hypothesis

clean-data: ## remove ALL that data/ holds, your own endpoints' data too; not while a run uses it
	@[ ! -e data/server.lock ] || flock --nonblock data/server.lock true || \
		{ echo "data/ is in use by the process $$(cat data/server.lock), or cannot be locked: stop that first" >&2; exit 1; }
	@rm -rf data
