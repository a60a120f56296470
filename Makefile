# Two commands for a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test slow lint bench bench-gpu clean

# Sets up an environment and runs the main job: digits against the mean-field limit.
quickstart: $(VENV)/.installed
	$(BIN)/meanfield run digits --store digits-study

# Lint, layering and every test that is not marked slow; once more, the core, with 64-bit JAX on.
test: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"
	MEANFIELD_TEST_X64=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu" tests/model tests/systems

slow: $(VENV)/.tested
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.tested
	$(BIN)/ruff check .

bench: $(VENV)/.tested
	$(BIN)/python benchmarks/run.py

bench-gpu: $(VENV)/.tested
	$(BIN)/python benchmarks/run.py --gpu

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
