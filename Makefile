# Every target sets up its own .venv: with uv where it is, else with python -m venv and pip. Nothing else is needed.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench simulate chaos fmt lock clean

PYTHON ?= python3
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
ENOUGH := import sys; sys.version_info >= (3, 11) or sys.exit("this is Python %d.%d, 3.11 or newer is needed: \
 make PYTHON=python3.11 $(or $(MAKECMDGOALS),demo)" % sys.version_info[:2])
ifdef UV
CREATE := $(UV) venv -q --allow-existing --python $(PYTHON) $(VENV) && $(BIN)/python -c '$(ENOUGH)'
INSTALL := $(UV) pip install -q --python $(BIN)/python
else
CREATE := $(PYTHON) -c '$(ENOUGH)' && $(PYTHON) -m venv $(VENV)
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check
endif

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/runtime  ## an embedded Kafka, an emulated API and the worker, in one command; ARGS="--input FILE" for your own texts
	@$(BIN)/embedding-worker demo $(ARGS)

test: $(VENV)/development  ## all tests, in two processes, on a real Kafka where Docker, or Java and Maven, are there; ARGS="-n 0 tests/core" for some
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal $(ARGS)

check: $(VENV)/development  ## linters, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile

bench: $(VENV)/development  ## the worker beside the vendor's SDK in a thread pool; ARGS="--json" for one JSON object
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: $(VENV)/development  ## workers killed, frozen and restarted on a real Kafka; ARGS="--events 5000 --kills 20 --seed N"
	@$(BIN)/python -m tests.chaos $(ARGS)

simulate: $(VENV)/development  ## many workers' lives in virtual time, faults at any moment, every promise checked; SEEDS=1000, SEED=123, ARGS="--planted"
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED) --trace,--seeds $(or $(SEEDS),1000)) $(ARGS)

fmt: $(VENV)/development  ## format the code
	@$(BIN)/ruff check -q --fix-only .
	@$(BIN)/ruff format -q .

lock:  ## make the lock files anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group build -o requirements-build.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group dev pyproject.toml -o requirements-dev.lock

clean:  ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

$(VENV)/bin/python:
	@echo "setting up $(VENV) ..." >&2
	@$(CREATE) || { rm -rf $(VENV); exit 1; }  # half of it would pass for the whole the next time

$(VENV)/runtime: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the runtime packages ..." >&2
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --require-hashes -r requirements-build.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/development: requirements-dev.lock $(VENV)/runtime
	@echo "installing the development packages ..." >&2
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@
