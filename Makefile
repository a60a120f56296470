# Two commands for a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test slow lint bench bench-gpu clean

# Sets up an environment and runs the main job: digits against the mean-field limit.
quickstart: $(VENV)/.installed
	$(BIN)/meanfield run digits --store digits-study

# Tests spend most of their time in compilation. These options take a third off it where XLA knows them; the
# slow tests run without.
QUICK = --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1
KNOWN = $$(XLA_FLAGS="$(QUICK)" $(BIN)/python -c "import jax; jax.devices()" >/dev/null 2>&1 && echo "$(QUICK)")
FAST = XLA_FLAGS="$(KNOWN)" $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu"

# Where types could change with 64-bit JAX on.
CORE = tests/model tests/systems/test_mlp_network.py tests/systems/test_two_layer_gradient.py tests/programs/test_tall.py

# Lint, layering and every test that is not marked slow; once more, the core, with 64-bit JAX on.
test: $(VENV)/.tested
	$(BIN)/ruff check .
	$(FAST)
	MEANFIELD_TEST_X64=1 $(FAST) $(CORE)

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

$(VENV)/.tested: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist *.egg-info
