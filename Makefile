# Every target sets itself up on a fresh machine: a virtual environment in .venv, nnkit and what the target needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= test
PLUGINS := $(dir $(wildcard plugins/*/pyproject.toml))

# What stands for the processors of other people, as Numba calls them: SSE 4.2, AVX2 with fused products and sums, and no more
# than every x86-64 has; and the tests that look at numbers.
PROCESSORS ?= nehalem haswell generic
NUMBERS := $(addprefix tests/,$(addprefix contract/,test_layers.py test_losses.py test_optimizers.py \
	test_schedules_initializers.py) $(addprefix unit/,$(addsuffix .py,test_engine test_gemm test_math test_numbers \
	test_recurrent test_attention_and_friends test_containers test_native test_textbook test_torch_parity)))

# Tests that compile everything, as those do that start processes, would take hours.
ARM64 ?= test_gemm or digits or c_function or (to_the_bit and mlp) or (Conv2d and compiled_equals) or (test_engine and not process \
	and not warmup and not other_sizes and not unwritable and not written and not helper and not memory_map and not allocate)

.PHONY: demo test test-processors test-arm64 bench docs docs-links clean

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

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[docs]"
	@touch $@

# Train a digits classifier, and watch.
demo: $(VENV)/.run
	$(BIN)/python -m nnkit demo

# Lint, types, tests; warnings are errors. EXTRAS=test,test-peers adds the comparisons with PyTorch.
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto

# The tests of numbers again, compiled for other processors, as far as this one can run that: PROCESSORS="haswell znver4" names
# others. Features are those of the name alone: Numba would add this machine's. Each has a kernel cache of its own, empty.
test-processors: $(VENV)/.test
	set -e; cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; for processor in $(PROCESSORS); do \
		echo "== $$processor"; \
		NUMBA_CPU_NAME=$$processor NUMBA_CPU_FEATURES= NNKIT_CACHE_DIR=$$cache/$$processor $(BIN)/python -m pytest -q -n auto $(NUMBERS); \
	done

# On an emulated 64-bit Arm: the engine, matrix products, convolutions in tiles, a fit of digits, nets as functions. Debian only.
test-arm64: $(VENV)/.run
	.ci/arm64 $(VENV)/arm64 tests/unit/test_gemm.py tests/unit/test_engine.py tests/unit/test_native.py tests/test_end_to_end.py \
		tests/contract/test_layers.py -k "$(ARM64)"

# Side by side with PyTorch, JAX and scikit-learn, in one run.
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# The site: .venv/docs/html/index.html. Warnings are errors; the gallery's scripts are run. Nothing comes from the network.
docs: $(VENV)/.docs
	$(BIN)/python -m nnkit.guide $(VENV)/docs

# Every link of it, those to other sites as well: needs a network.
docs-links: $(VENV)/.docs
	$(BIN)/python -m nnkit.guide $(VENV)/docs --links

clean:
	rm -rf $(VENV)
