PYTHON ?= python3
BIN := .venv/bin
CHECKPOINTS := toyworld/checkpoints/.made

.PHONY: help setup demo test check docs lock clean

help:           ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  -/'

setup: .venv/.installed $(CHECKPOINTS)   ## virtual environment and the small embedded models

demo: setup     ## run the main job on the movies that come with the project; the store is demo-store/
	$(BIN)/caption-movies demo --store demo-store

test: setup check   ## every check, then every test
	$(BIN)/python -m pytest $(PYTEST)

check: .venv/.installed   ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: setup     ## write the generated pages of docs/ anew
	$(BIN)/python -m docs.generate

lock: .venv/.installed   ## write requirements.lock from what is installed
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' > requirements.lock

clean:          ## delete everything that was made, stores of yours not
	rm -rf .venv demo-store toyworld/checkpoints build *.egg-info

.venv/.installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "caption-movies needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	@touch $@

$(CHECKPOINTS): .venv/.installed $(wildcard toyworld/*.py)
	$(BIN)/python -m toyworld.make_checkpoints toyworld/checkpoints
	@touch $@
