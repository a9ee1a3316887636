# make demo   the flagship example through Airflow, cold and warm
# make test   all tests, with what they need set up first
# make check  formatters, linters, import contracts, rooms and floors, type checkers, the voice
# make howto  the outputs of the commands in docs/howto, made anew: make howto PAGES='why compare'
# make ui      the pictures of docs/ui.md, made anew: a real Airflow, and a real browser
# make bench  the benchmarks, against gokart and against plain Airflow
# make matrix  the demo with each supported Airflow on each supported Python: make matrix CELLS='3.1-3.10 3.3-3.13'
# make earlier  an earlier Airflow on this Python: install, import, the tests of the pages
# make mutants  a mutation run over the core, for hours: make mutants MUTANTS='--jobs 2 --sample 20 locks/lease.py'

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := airflow_kart example_dags tests .ci

# Compiled modules are kept, whatever the surroundings say: without them each process compiles Airflow anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test check style mypy pyright howto ui bench matrix earlier mutants clean

demo: $(VENV)/.examples
	$(BIN)/python .ci/demo.py

# Each level by itself, but for typing, and the fast ones first. Tests that wait leave room for a process or two more than there are cores.
test: $(VENV)/.dev
	.ci/system_packages
	$(BIN)/python -m pytest tests/unit --numprocesses 3 --dist worksteal
	$(BIN)/python -m pytest tests/typing tests/stores --numprocesses 4 --dist worksteal
	$(BIN)/python -m pytest tests/airflow --numprocesses 3 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest tests/scheduler --numprocesses 2

check: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs 2 --output-sync pyright mypy style

style: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/python .ci/rooms.py
	$(BIN)/python .ci/voice.py

howto: $(VENV)/.dev
	$(BIN)/python .ci/howto.py $(PAGES)

ui: $(VENV)/.dev
	.ci/system_packages
	$(BIN)/python .ci/ui.py

mypy: $(VENV)/.dev
	$(BIN)/mypy

pyright: $(VENV)/.dev
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.dev $(VENV)/.bench
	.ci/system_packages
	for script in tests/benchmarks/bench_*.py; do PYTHONPATH=tests $(BIN)/python $$script || exit 1; done

# cosmic-ray has an environment of its own: Airflow pins packages that both use.
mutants: $(VENV)/.dev $(VENV)-mutants/.done
	$(VENV)-mutants/bin/python .ci/mutants.py $(CURDIR)/$(BIN)/python $(MUTANTS)

matrix: $(VENV)/.uv
	$(BIN)/python .ci/matrix.py $(CELLS)

earlier: $(VENV)/.dev
	.ci/system_packages
	$(BIN)/python .ci/matrix.py --runs 0 --pages today

clean:
	rm -rf $(VENV) $(VENV)-mutants .demo .matrix .mutants

$(VENV)/.uv:
	.ci/make_venv $(PYTHON) $(VENV)
	touch $@

$(VENV)/.examples: $(VENV)/.uv pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[examples]'
	touch $@

$(VENV)-mutants/.done: $(VENV)/.uv
	$(BIN)/uv venv --quiet --python $(BIN)/python $(VENV)-mutants
	$(BIN)/uv pip install --quiet --python $(VENV)-mutants/bin/python 'cosmic-ray>=8.4'
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[bench]'
	touch $@

$(VENV)/.dev: $(VENV)/.uv pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
	touch $@
