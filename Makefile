# Everything runs in a virtual environment in .venv, made from requirements.lock on first use.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo ui test storm bench lint check format lock clean

demo: $(READY)
	$(BIN)/crdbvec demo

ui: $(READY)
	$(BIN)/crdbvec ui

# Two at once: much of the suite waits, for servers, daemons and locks. A file stays with one of them.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Writers and followers at random, STORM_SECONDS for each of six weathers; the ordinary suite has a gust of it.
STORM_SECONDS ?= 60
storm: $(READY)
	CRDBVEC_STORM_SECONDS=$(STORM_SECONDS) $(BIN)/python -m pytest --timeout 0 tests/test_freshness_storm.py

bench: $(READY)
	set -e; for script in $$(grep -l __main__ benchmarks/*.py); do echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py); done

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch is pinned to a release whose CPU build is at hand; other releases may bring gigabytes of GPU libraries.
lock: $(READY)
	$(BIN)/pip install --quiet 'pip-tools>=7.5,<8'
	$(BIN)/pip-compile --quiet --extra dev --extra openvino --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-header --annotation-style line --upgrade-package torch==2.13.0 --output-file requirements.lock pyproject.toml
	sed -i 's/+cpu / /' requirements.lock

clean:
	rm -rf $(VENV) .crdbvec .tmp_dagster_home_*

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25'
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $(READY)
