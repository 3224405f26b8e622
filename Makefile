# `make run` and `make test` need Python 3.11+ and make; they fetch everything else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt
PAGE := pipeline/serve/page/dist/.built

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run run-bare page dist screenshots test coverage test-unit test-slow test-shards judges test-newest faults test-kubernetes check map dashboards page-models format bench lock clean clean-data

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is required, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@echo "==> creating the virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $(MADE)

# Run-time dependencies; development dependencies are added below.
$(RUNS): pyproject.toml constraints.txt | $(MADE)
	@echo "==> installing run-time dependencies (once; a minute or two)"
	@$(INSTALL) -e '.[demo]'
	@touch $(RUNS)

$(READY): pyproject.toml constraints.txt | $(MADE)
	@echo "==> installing run-time and development dependencies (once; a few minutes)"
	@$(INSTALL) -e '.[dev]'
	@mkdir -p build/names/endpoint_analytics
	@for d in agents infra pipeline schemas; do ln -sfn ../../../$$d build/names/endpoint_analytics/$$d; done
	@for f in endpoint_analytics/*.py endpoint_analytics/py.typed; do ln -sfn ../../../$$f build/names/$$f; done
	@touch $(RUNS) $(READY)

$(PEERS): $(READY)
	@echo "==> installing the benchmarks' peers (once)"
	@$(INSTALL) -e '.[bench]'
	@touch $(PEERS)

$(PAGE): build_page.py package.json package-lock.json $(shell find pipeline/serve/page -type f -not -path '*/dist/*') | $(MADE)
	@echo "==> building the page"
	@$(BIN)/python build_page.py
	@touch $(PAGE)

dist: $(RUNS) $(PAGE) ## build a wheel and a source distribution in dist/, both with the page
	@rm -rf dist
	@$(BIN)/python -m build --version >/dev/null 2>&1 || $(INSTALL) build
	@$(BIN)/python -m build --outdir dist .

run-bare: $(RUNS) $(PAGE) ## the same as run, without the demo, for your own agents
	@$(BIN)/endpoint-analytics run --no-demo

run: $(RUNS) $(PAGE) ## run Kafka, ClickHouse, worker, query service and a demo endpoint under live traffic
	@$(BIN)/endpoint-analytics run

page: $(PAGE) ## bundle the page, with the machine's Node or one from a wheel

screenshots: $(READY) $(PAGE) ## take screenshots of the page with a real browser, in build/screenshots
	@$(BIN)/python -m tests.page.screenshots

check: $(READY) $(PAGE) ## lint, and check types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/mypy -p endpoint_analytics
	@$(BIN)/mypy --follow-imports silent tests/benchmarks tests/support
	@$(BIN)/python build_page.py check

test: check ## lint, check types, and run the tests with a real Kafka and a real ClickHouse engine
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-unit: $(READY) ## run the tests that start no process and open no connection (under two minutes)
	@$(BIN)/python -m pytest -p tests.support.unit -n 2 --dist loadfile -q

coverage: $(READY) ## report the branch coverage of the unit tests, per file
	@$(BIN)/python -m pytest -p tests.support.unit -n 2 --dist loadfile -q --cov --cov-branch --cov-report=term

test-slow: $(READY) $(PAGE) ## run the slow tests that `make test` skips: three brokers, full disks, faults in every variant
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m slow --ignore tests/agents/kubernetes/real

test-shards: $(READY) ## run tests of the store, of its readers and of a worker on two shards of ClickHouse
	@$(BIN)/python -m pytest -p tests.support.two_shards tests/pipeline/store tests/pipeline/serve/test_namespace_scrape.py \
		tests/pipeline/serve/api/test_agreement.py tests/pipeline/serve/api/test_autoscaling.py \
		tests/faults/test_workers_come_and_go.py::test_workers_added_and_removed -q

judges: $(READY) $(PAGE) ## let programs that others made read what ours writes; they are built first (10 min, needs Go)
	@JUDGES_REQUIRED=1 $(BIN)/python -m pytest -m judge

test-newest: $(READY) ## run the fast tests on the newest Python of this machine
	@$(BIN)/python -m tests.support.newest_python

faults: $(READY) ## inject faults into every part, alone and combined: SEED=n of the first campaign, SEEDS=10, SECONDS=30 each, BUSY=busy cores
	@$(BIN)/python -m pytest tests/faults -m "slow or not slow" -q
	@$(BIN)/python -m tests.faults.campaign $(if $(SEED),--seed $(SEED)) --seeds $(or $(SEEDS),10) --seconds $(or $(SECONDS),30) --busy $(or $(BUSY),0)

test-kubernetes: $(READY) ## test the Kubernetes agent, autoscaling and the Helm chart with a real kube-apiserver, which is built first (20 min, needs Go)
	@$(BIN)/python -m tests.agents.kubernetes.real.kube_apiserver
	@$(BIN)/python -m pytest tests/agents/kubernetes/real -m slow -q

map: $(READY) ## update the map of packages in docs/architecture.md
	@$(BIN)/python -m tests.support.rooms

dashboards: $(READY) ## write the dashboards of Grafana and Datadog from their modules
	@$(BIN)/python -m endpoint_analytics.infra.deploy.monitoring.write

page-models: $(READY) ## write the page's types from the API's OpenAPI document
	@$(BIN)/python -m tests.support.page_models

format: $(READY) ## format the sources
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(PEERS) ## run the benchmarks, each next to a peer in the same run, and print one table; NAMES="live peers" chooses
	@$(BIN)/python -m tests.benchmarks $(NAMES)

lock: ## pin the newest versions allowed by pyproject.toml
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install -q pip-tools
	@build/lock/bin/pip-compile -q --upgrade --extra bench --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options -o constraints.txt pyproject.toml
	@sed -i "/^endpoint-analytics /d" constraints.txt

clean: ## remove build artefacts
	@rm -rf $(VENV) build dist node_modules pipeline/serve/page/dist *.egg-info .mypy_cache .ruff_cache .hypothesis

clean-data: ## remove ALL data in data/, including that of your own endpoints; refuses while a run uses it
	@[ ! -e data/server.lock ] || flock --nonblock data/server.lock true || \
		{ echo "data/ is in use by process $$(cat data/server.lock), or cannot be locked: stop that process first" >&2; exit 1; }
	@rm -rf data
