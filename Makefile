# The two commands: `make run` and `make test`. Everything here can be called again at any time.
PYTHON ?= python3
BIN := .venv/bin
PINS := requirements/constraints.txt
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)
PIP := $(BIN)/python -m pip --disable-pip-version-check
export HF_HUB_DISABLE_TELEMETRY := 1
export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1

.PHONY: help setup run people test test-fast check demo docs
.DEFAULT_GOAL := help

help:
	@echo "make run        set everything up and serve the app on 127.0.0.1"
	@echo "make test       set up what tests need and run them all"
	@echo "make setup      packages, database, default model, sample project"
	@echo "make demo       the whole loop without a person (simulated); about 20 minutes on two cores"
	@echo "make people     serve only ranking, judging and results: no torch, for a laptop"
	@echo "make test-fast  the tests that take seconds"
	@echo "make check      ruff, ruff format, mypy"
	@echo "make docs       write docs/commands.md anew"

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	@echo "Making a virtual environment in .venv ..."
	@$(PYTHON) -m venv .venv && touch $@

.venv/app: .venv/made requirements/app.txt $(PINS)
	@echo "Installing the app's packages ..."
	@$(PIP) install --progress-bar on -q -r requirements/app.txt && touch $@

ifeq ($(GPU),yes)
.venv/full: .venv/made $(addprefix requirements/,gpu.txt train.txt app.txt) $(PINS)
	@echo "Installing the full set for a GPU: several GB, so this takes a while ..."
	@$(PIP) install --progress-bar on -q -r requirements/gpu.txt && touch $@ .venv/app
else
.venv/full: .venv/made $(addprefix requirements/,cpu.txt cpu-engine.txt train.txt app.txt) $(PINS)
	@echo "No NVIDIA GPU here: installing the full set for a CPU, a few minutes the first time ..."
	@$(PIP) install --progress-bar on -q -r requirements/cpu.txt
	@$(PIP) install --progress-bar on -q --no-deps -r requirements/cpu-engine.txt && touch $@ .venv/app
endif

.venv/dev: .venv/full $(addprefix requirements/,dev.txt ray.txt benchmarks.txt) $(PINS)
	@echo "Installing what tests need ..."
	@$(PIP) install -q -r requirements/dev.txt
	@$(PIP) install -q --no-deps -r requirements/benchmarks.txt && touch $@

setup: .venv/full
	@$(BIN)/python cli.py setup

run: setup
	@$(BIN)/python cli.py run

people: .venv/app
	@$(BIN)/python cli.py setup
	@$(BIN)/python cli.py run

demo: setup
	@$(BIN)/python cli.py demo --json var/demo.json

test: test-fast
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m slow -n 3 --dist loadfile --no-loadscope-reorder

test-fast: .venv/dev
	@$(BIN)/python -m pytest -m "not slow" -n 3

check: .venv/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .

docs: .venv/app
	@$(BIN)/python -m typer cli.py utils docs --name pickwell --output docs/commands.md
