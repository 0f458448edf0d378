# Every target sets itself up on a fresh machine: a virtual environment in .venv, nnkit and what the target needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= test
PLUGINS := $(dir $(wildcard plugins/*/pyproject.toml))

.PHONY: demo test bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml $(wildcard plugins/*/pyproject.toml) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]" $(PLUGINS:%=--editable %)
	@touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[bench]"
	@touch $@

# Train a digits classifier, and watch.
demo: $(VENV)/.run
	$(BIN)/python -m nnkit demo

# Lint, types, tests; warnings are errors. EXTRAS=test,test-peers adds the comparisons with PyTorch.
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto

# Side by side with PyTorch, JAX and scikit-learn, in one run.
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV)
