# Each target makes its own .venv, so a clean clone needs Python, make and the package registry.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-outside test-processors lint mutants clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/foldtune demo --out demo-study

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2 --dist worksteal --ignore tests/outside

# References with real images and weights, where they are; tests/outside/conftest.py says which.
test-outside: $(VENV)/.installed
	$(BIN)/pytest -n 2 --dist worksteal tests/outside

# The suite with the kernels that other processors take, and with their last bits.
test-processors: $(VENV)/.installed
	$(BIN)/python tests/processors.py

# A seeded sample of small changes of the source, and which of them no test notices.
mutants: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[mutants]"
	$(BIN)/python benchmarks/mutants.py

clean:
	rm -rf $(VENV) demo-study mutants .pytest_cache .mypy_cache .ruff_cache
