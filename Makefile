# make demo   trains a spiking network on handwritten digits and says where its pictures are
# make test   runs the tests, without the slow ones
# Each makes .venv if there is none and installs what it needs. `make help` lists the rest.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
PYTEST_FLAGS ?= -n 2 --dist worksteal -q
MATRIX_FLAGS ?=
NOTEBOOK_FLAGS ?=
OUT ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

# Small networks and parallel test processes both lose to threads that wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1

# Tests start many processes, and pytest rewrites each test module: without bytecode each of them compiles all again.
TESTS := $(ONE_THREAD) PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

.PHONY: help demo test test-slow test-all matrix lint format types bench api docs notebooks clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train a spiking network on handwritten digits, with pictures (runs/demo)"
	@echo "make test    run the tests (a few minutes); make test-slow runs the slow ones, make test-all both"
	@echo "make matrix  run the tests on each Python and each torch that can be installed here"
	@echo "make docs    build the site (site/index.html); needs Python 3.11 or newer"
	@echo "make notebooks  execute the tutorials as notebooks (build/notebooks); NOTEBOOK_FLAGS=--full: at full length"
	@echo "make lint    check style (ruff), spelling (codespell) and links; make format repairs the style"
	@echo "make types   check types (pyright)"
	@echo "make bench   compare speed with other libraries, where they are installed"
	@echo "make api     record the public API after a change that is meant"
	@echo "make clean   remove .venv and caches; runs/ is kept"

# A run is never overwritten: the second demo goes to runs/demo-2, and so on.
demo: $(VENV)/.installed-demo
	@out="$(OUT)"; \
	if [ -z "$$out" ]; then \
	  out=runs/demo; n=1; \
	  while [ -e "$$out" ]; do n=$$((n + 1)); out=runs/demo-$$n; done; \
	fi; \
	$(BIN)/spikeloom train --out "$$out"

test: $(VENV)/.installed-dev
	@$(TESTS) -m "not slow" $(PYTEST_FLAGS)

test-slow: $(VENV)/.installed-dev
	@$(TESTS) -m slow $(PYTEST_FLAGS)

test-all: $(VENV)/.installed-dev
	@$(TESTS) $(PYTEST_FLAGS)

matrix: $(BIN)/pip
	@$(BIN)/python tests/matrix.py $(MATRIX_FLAGS)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && echo "style: clean" || { echo "style: make format repairs most of it"; exit 1; }

	@$(BIN)/codespell && echo "spelling: clean"
	@$(BIN)/python -m pytest -q -k links tests/test_docs.py

format: $(VENV)/.installed-dev
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: $(VENV)/.installed-dev
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.installed-dev
	@$(ONE_THREAD) $(BIN)/python benchmarks/loop.py

api: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.test_public_api

notebooks: $(VENV)/.installed-docs
	@$(BIN)/python docs/site/notebooks.py build/notebooks $(NOTEBOOK_FLAGS)

docs: notebooks
	@$(BIN)/python docs/site/build.py site --notebooks build/notebooks && echo "site: site/index.html"

clean:
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist site
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say what .venv holds; pyproject.toml and constraints.txt outdate them. `dev` holds all that the demo needs.
$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Spikeloom and PyTorch into $(VENV) (the first time this takes a few minutes) ..."
	@$(PIP) -e ".[viz,data]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Spikeloom, PyTorch and the tools for tests into $(VENV) (the first time this takes a few minutes) ..."
	@$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Spikeloom, PyTorch and the tools for the site into $(VENV) (the first time this takes a few minutes) ..."
	@$(PIP) -e ".[docs]"
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Spikeloom needs Python 3.10 or newer. If it has another name here: make demo PYTHON=python3.12"; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python could not make a virtual environment; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
