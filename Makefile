# All targets use a virtual environment in .venv, which the first of them creates from requirements.lock.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c '$(SUPPORTED)' 2>/dev/null && echo $$name && break; done)
# The build of torch: cpu, another backend of uv such as auto or cu130, or pypi for the one that pip finds. On Linux, PyPI
# has the build for CUDA, which takes 6 GB with its libraries.
TORCH ?= cpu
TORCH_VERSION = $(shell sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements.lock)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Errors only: a warning would look like a failure.
PIP = $(BIN)/pip --quiet --quiet --disable-pip-version-check
# pip can choose the CPU build only if its configuration names an index that has it; uv knows where it is.
INSTALL_TORCH = if [ "$(TORCH)" = cpu ] && $(BIN)/pip index versions torch 2>/dev/null | grep -qF '$(TORCH_VERSION)+cpu'; then \
	$(PIP) install 'torch==$(TORCH_VERSION)+cpu'; \
elif [ "$(TORCH)" != pypi ]; then \
	$(PIP) install uv && $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend '$(TORCH)' \
		--constraint requirements.lock torch \
	|| { echo "This build of torch could not be installed. make TORCH=pypi installs the one that pip finds, on Linux \
	usually for CUDA (6 GB)." >&2; exit 1; }; \
fi

.PHONY: help demo ui test stress test-ui chaos workers bench docs pictures lint check format dist smoke licenses lint-deploy lock clean

help: ## Show the targets.
	@echo "Usage: make <target> [PYTHON=/path/to/python] [TORCH=cpu|auto|pypi]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Embed 2,000 dictionary glosses with Dagster on an embedded PostgreSQL, and search them.
	$(BIN)/crdbvec demo

ui: $(READY) ## Open Dagster's UI for the demo data at http://localhost:3000.
	$(BIN)/crdbvec ui

# Two processes, because the tests often wait for servers, daemons and locks. All tests of a file run in one process, and
# tests/conftest.py determines the order of the files.
test: $(READY) ## Run the tests on the embedded PostgreSQL, and on CockroachDB if it is available.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The seconds of each of the six scenarios. `make test` runs them in a short form.
CRDBVEC_STRESS_SECONDS ?= 60
CRDBVEC_GENERATED_TABLES ?= 5000
# The random faults of the command line, and again those of Dagster, and the rows of the table.
CRDBVEC_STRESS_FAULTS ?= 300
CRDBVEC_STRESS_ROWS ?= 20000
# How often commands of a model migration are killed.
CRDBVEC_MIGRATION_KILLS ?= 20
stress: $(READY) ## Run the stress tests, one minute for each scenario, 5,000 generated tables, and 600 random faults.
	CRDBVEC_STRESS_SECONDS=$(CRDBVEC_STRESS_SECONDS) CRDBVEC_GENERATED_TABLES=$(CRDBVEC_GENERATED_TABLES) \
		CRDBVEC_STRESS_FAULTS=$(CRDBVEC_STRESS_FAULTS) CRDBVEC_STRESS_ROWS=$(CRDBVEC_STRESS_ROWS) \
		CRDBVEC_MIGRATION_KILLS=$(CRDBVEC_MIGRATION_KILLS) \
		$(BIN)/python -m pytest --timeout 0 tests/stress tests/generated_tables tests/faults

test-ui: $(READY) ## Run the browser tests, which click through Dagster's pages in Chromium.
	$(BIN)/python -m pytest tests/ui

# How often each scenario is run, at other moments each time. `make test` runs a few of the scenarios.
CRDBVEC_CHAOS_ROUNDS ?= 1
chaos: $(READY) ## Run the chaos tests, which kill Dagster's processes and the databases in the middle of backfills.
	CRDBVEC_CHAOS_ROUNDS=$(CRDBVEC_CHAOS_ROUNDS) $(BIN)/python -m pytest tests/chaos tests/cli/test_ui.py \
		tests/orchestration/test_backfills.py tests/test_benchmarks.py

# Rounds of the long form: a backfill of 20 partitions by two workers, with all faults in each round.
CRDBVEC_WORKERS_ROUNDS ?= 5
workers: $(READY) ## Run the tests with Celery workers on two hosts, which are killed and cut off; needs redis-server.
	CRDBVEC_WORKERS_ROUNDS=$(CRDBVEC_WORKERS_ROUNDS) $(BIN)/python -m pytest -s tests/workers

bench: $(READY) ## Run the benchmarks; takes about 45 minutes.
	set -e; for script in $$(grep -l __main__ benchmarks/*.py); do echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py); done

docs: $(READY) ## Build the documentation site into build/site, without a network; a dead link fails.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pictures: $(READY) ## Make the pictures of the documents again: plots, and screenshots by the browser tests.
	$(BIN)/python -m docsite.pictures
	CRDBVEC_UPDATE_SCREENSHOTS=1 $(BIN)/python -m pytest tests/ui

lint: $(READY) ## Run ruff, mypy, import-linter, codespell, and the word list of the glossary.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m pytest --quiet tests/test_language.py

check: lint test ## Run lint and test.

format: $(READY) ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Tools that are needed for releases only are not in requirements.lock.
dist: $(READY) ## Build and check the source distribution and the wheel, in dist/.
	$(PIP) install 'twine>=6,<8' 'check-wheel-contents>=0.6,<1'
	rm -rf dist && $(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

smoke: dist ## Install what is in dist/ with each Python on PATH, newest and lowest dependencies; takes long, and 2 GB.
	$(PIP) install uv
	PATH="$(CURDIR)/$(BIN):$$PATH" $(if $(filter-out pypi,$(TORCH)),UV_TORCH_BACKEND=$(TORCH)) tests/package/smoke.sh

licenses: $(READY) ## List the dependencies of the environment: build/sbom.json (CycloneDX) and build/licenses.md.
	$(PIP) install 'cyclonedx-bom>=7,<8' 'pip-licenses>=5,<6'
	mkdir -p build
	$(BIN)/cyclonedx-py environment --output-format JSON --output-file build/sbom.json $(BIN)/python
	$(BIN)/pip-licenses --format markdown --with-urls --output-file build/licenses.md

# Each linter checks what it can without a server, and is left out if it is not installed.
lint-deploy: ## Check the files in deploy/ with those linters that are installed: hadolint, docker compose, systemd.
	deploy/lint.sh

# torch is pinned to a release with a CPU build, because other releases may install gigabytes of GPU libraries.
lock: $(READY) ## Update requirements.lock.
	$(BIN)/pip install --quiet 'pip-tools>=7.5,<8'
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-header --annotation-style line --upgrade-package torch==2.13.0 --output-file requirements.lock pyproject.toml
	sed -i 's/+cpu / /' requirements.lock

clean: ## Delete the virtual environment and the data of the demo.
	rm -rf $(VENV) .crdbvec .tmp_dagster_home_*

$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { echo "$(if $(PYTHON),$(PYTHON) is not a supported Python,No \
	supported Python was found on PATH). Install Python 3.11 to 3.14, or run: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing into $(VENV), once: about two minutes, and 3.1 GB of disk space."
	@echo "1 of 4: virtual environment of $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25'
	@echo "2 of 4: torch $(TORCH_VERSION), the build for $(TORCH)"
	@$(INSTALL_TORCH)
	@echo "3 of 4: $$(grep -c == requirements.lock) packages of requirements.lock"
	@$(PIP) install --requirement requirements.lock
	@echo "4 of 4: crdbvec-pipelines"
	@$(PIP) install --no-deps --editable .
	@touch $(READY)
