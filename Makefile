# `make run` and `make test` need Python 3.11+ and make; everything else they fetch themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PAGE := pipeline/serve/page/dist/.built

.DEFAULT_GOAL := help
.PHONY: help run run-bare page screenshots test faults check format bench lock clean

help: ## say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@echo "==> making the virtual environment in $(VENV) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[dev]'
	@mkdir -p build/names/endpoint_analytics
	@for d in agents infra pipeline schemas; do ln -sfn ../../../$$d build/names/endpoint_analytics/$$d; done
	@touch $(READY)

$(PAGE): $(READY) build_page.py package.json package-lock.json $(shell find pipeline/serve/page -type f -not -path '*/dist/*')
	@echo "==> building the page"
	@$(BIN)/python build_page.py
	@touch $(PAGE)

run-bare: $(READY) $(PAGE) ## the same without the demo, for agents of your own
	@$(BIN)/endpoint-analytics run --no-demo

run: $(READY) $(PAGE) ## Kafka, ClickHouse, worker, query service and a demo endpoint under live traffic
	@$(BIN)/endpoint-analytics run

page: $(PAGE) ## bundle the page, with the machine's Node or the one of a wheel

screenshots: $(READY) $(PAGE) ## pictures of the page in build/screenshots, by a real browser
	@$(BIN)/python -m tests.page.screenshots

check: $(READY) $(PAGE) ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy -p endpoint_analytics
	@$(BIN)/python build_page.py check

test: check ## lint, types and all tests, on a real Kafka and a real ClickHouse engine
	@$(BIN)/python -m pytest

faults: $(READY) ## break every part, one by one and mixed: SEED=n of the first campaign, SEEDS=10, SECONDS=30 each
	@$(BIN)/python -m pytest tests/faults -m "slow or not slow" -q
	@$(BIN)/python -m tests.faults.campaign $(if $(SEED),--seed $(SEED)) --seeds $(or $(SEEDS),10) --seconds $(or $(SECONDS),30)

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

clean: ## remove what was built, and the demo's data
	@rm -rf $(VENV) build dist data node_modules pipeline/serve/page/dist *.egg-info .mypy_cache .ruff_cache .hypothesis
