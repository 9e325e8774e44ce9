# Two commands do everything on a fresh Debian or Ubuntu: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
JOBS ?= 2
C_SOURCES = $(shell find kernels targets tests -name '*.[ch]')

.PHONY: demo test test-quick sanitize lint lint-python lint-types lint-c format wheel-check clean system

# The digits CNN: compile, train on QEMU over its serial line, accuracy before and after, trained.onnx.
demo: $(READY) system
	$(BIN)/python examples/digits_cnn.py

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

test-quick: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(PYTEST_ARGS)

# Whole training runs on firmware that GCC built with its address and undefined-behaviour sanitizers.
sanitize: $(READY)
	MCUTRAIN_CC=gcc MCUTRAIN_CFLAGS="-g -fsanitize=address,undefined -fno-sanitize-recover=all" \
	  $(BIN)/python -m pytest -q -n $(JOBS) tests/cli/test_cli_commands.py

# The wheel carries kernels, templates and boards: build it, and use it from a fresh environment.
wheel-check: $(READY)
	.ci/wheel-check $(BIN)/python

lint: lint-python lint-types lint-c

lint-python: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: $(READY)
	$(BIN)/mypy

lint-c: $(READY)
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)

# QEMU through the package manager where this user may; otherwise a word on how to get it.
system:
	@.ci/system-packages qemu

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "mcutrain needs Python 3.10 or newer: set PYTHON=python3.x" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/system-packages python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[test,dev,data]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
