# make demo: set up and draw digits.  make test: set up, lint, type-check, test.  make bench: measure.
# Needs Python >= 3.11, make and pip; everything goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

# OpenMP threads that spin while they wait starve the processes that the tests start (docs/log.md).
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint docs bench install clean

demo: .venv/.installed
	$(BIN)/sfumato demo --out demo

test: .venv/.installed-dev lint
	$(BIN)/python -m pytest --durations=10

lint: .venv/.installed-dev
	$(BIN)/ruff check src tests bench tools
	$(BIN)/ruff format --check src tests bench tools
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed-dev
	$(BIN)/python -m bench

docs: .venv/.installed-dev
	$(BIN)/mkdocs build --strict --site-dir site

install: .venv/.installed

.venv/bin/python:
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
