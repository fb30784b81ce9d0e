PYTHON ?= python3
BIN := .venv/bin
RUNS := build/toyworld
MINUTES := 90
SCENES := 500

.PHONY: help setup browser demo train-demo test check quick docs site lock clean toyworld-train toyworld-report

help:           ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  -/'

setup: .venv/.installed   ## the virtual environment

browser: .venv/.installed   ## a headless Chromium for the gallery's tests, where this machine lets one be had
	@.ci/browser

demo: setup     ## draw a movie, run the main job on it, hold the result against the truth; the store is demo-store/
	$(BIN)/caption-movies demo --store demo-store

train-demo: setup   ## teach the embedded captioner another wording in two stages, and score it on movies it never saw
	$(BIN)/caption-movies train-demo --folder train-demo

# mypy takes a minute of one core when it is new here: it works beside the tests, and its words come after theirs.
test: setup browser quick   ## every check and every test
	@mkdir -p build
	@$(BIN)/mypy >build/mypy.txt 2>&1 & \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST); \
	tested=$$?; wait $$!; typed=$$?; echo mypy:; cat build/mypy.txt; exit $$((tested | typed))

check: quick    ## ruff, mypy, import-linter
	$(BIN)/mypy

quick: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

toyworld-report: setup   ## measure the embedded models on 500 unseen scenes, with bars and controls
	$(BIN)/python -m toyworld.report --scenes $(SCENES)

toyworld-train: setup    ## train both embedded models anew, the detector twice MINUTES (90) long, the captioner three times; goes on after an interruption
	$(BIN)/python -m toyworld.train_detector --folder $(RUNS)-detector-1 --minutes $(MINUTES) --workers 1
	$(BIN)/python -m toyworld.train_detector --folder $(RUNS)-detector-2 --start $(RUNS)-detector-1 --seed 1 --learning-rate 7e-4 --minutes $(MINUTES) --workers 1 --export toyworld/checkpoints/detector
	$(BIN)/python -m toyworld.train_captioner --folder $(RUNS)-captioner-1 --minutes $(MINUTES)
	$(BIN)/python -m toyworld.train_captioner --folder $(RUNS)-captioner-2 --start $(RUNS)-captioner-1 --seed 1 --seeing .22 --binding .22 --learning-rate 1e-3 --minutes $(MINUTES)
	$(BIN)/python -m toyworld.train_captioner --folder $(RUNS)-captioner-3 --start $(RUNS)-captioner-2 --seed 2 --seeing 0 --binding 0 --learning-rate 8e-4 --minutes $(MINUTES) --export toyworld/checkpoints/captioner
	$(BIN)/python -m toyworld.report --scenes $(SCENES) --cards $(RUNS)-detector-2 $(RUNS)-captioner-3

docs: setup     ## write the generated pages of docs/ anew
	$(BIN)/python -m docs.generate

site: setup     ## the docs as pages that open from disk: build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open build/site/index.html"

lock: .venv/.installed   ## write requirements.lock from what is installed
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' > requirements.lock

clean:          ## delete everything that was made, training runs too; stores of yours not
	rm -rf .venv demo-store demo-movies train-demo build *.egg-info

.venv/.installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "caption-movies needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	@touch $@
