# Each target makes its own .venv, so a clean clone needs Python, make and the package registry.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo docs test test-outside test-processors test-oldest lint mutants fuzz sweep clean

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

test: $(VENV)/.installed
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

# Thousands of seeded, damaged files of strangers: pictures and tables, then tunings, weights,
# studies, adapters and texts. Each is watched; none may do more than be refused in a line.
fuzz: $(VENV)/.installed
	$(BIN)/python benchmarks/fuzz/pictures.py
	$(BIN)/python benchmarks/fuzz/borders.py

# Every method on every kind of host, and every architecture of timm, transformers and open_clip, half
# an hour of one core and more; a later call goes on where one was stopped. For the scheduler: it fails
# where an attention is missed, something other than a refusal is raised, or the table of capabilities
# is not what is found. `rm sweep.jsonl` begins anew.
sweep: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/families.py --all --out sweep.jsonl
	FOLDTUNE_ALL_FAMILIES=1 $(BIN)/pytest -n 2 tests/testing/test_capabilities.py

# The site of docs/, in site/; a link that leads nowhere fails.
docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The suite with the oldest versions that pyproject.toml allows; 5 GB, CUDA's libraries included.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest -n 2 --dist worksteal --ignore tests/outside

.venv-oldest/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest demo-study site mutants sweep.jsonl .pytest_cache .mypy_cache .ruff_cache
