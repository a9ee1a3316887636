# make demo   the flagship example through Airflow, cold and warm
# make test   all tests, with what they need set up first
# make check  formatters, linters, import contracts, rooms and floors, type checkers, the voice
# make bench  the benchmarks, against gokart and against plain Airflow

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := airflow_kart example_dags tests .ci

# Compiled modules are kept, whatever the surroundings say: without them each process compiles Airflow anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test check bench clean

demo: $(VENV)/.examples
	$(BIN)/python .ci/demo.py

# Each level by itself, the fast one first.
test: $(VENV)/.dev
	.ci/system_packages
	$(BIN)/python -m pytest tests/unit --numprocesses auto
	$(BIN)/python -m pytest tests/stores --numprocesses auto
	$(BIN)/python -m pytest tests/typing
	$(BIN)/python -m pytest tests/airflow --numprocesses auto --dist loadfile
	$(BIN)/python -m pytest tests/scheduler

check: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/python .ci/rooms.py
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python .ci/voice.py

bench: $(VENV)/.dev $(VENV)/.bench
	.ci/system_packages
	for script in tests/benchmarks/bench_*.py; do PYTHONPATH=tests $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .demo

$(VENV)/.uv:
	.ci/make_venv $(PYTHON) $(VENV)
	touch $@

$(VENV)/.examples: $(VENV)/.uv pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[examples]'
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[bench]'
	touch $@

$(VENV)/.dev: $(VENV)/.uv pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
	touch $@
