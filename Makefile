# Every target does its own set-up: a virtual environment in the clone, the pinned dependencies, the package (editable).
# PYTHON=python3.12 make test   picks the interpreter.
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2
FUZZ_TABLES ?= 10000
FUZZ_FILES ?= 2000
# One thread a worker: two workers of many threads each would fight for the cores.
TEST_ENV := OMP_NUM_THREADS=1 MPLBACKEND=Agg

# What must hold under the oldest supported scikit-learn too.
CORE_TESTS := $(addprefix tests/estimators/,test_sklearn_checks.py test_parameters.py test_input.py test_composition.py \
	test_callbacks.py) tests/training/test_training.py

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-long test-oldest fuzz docs lint format clean

help:
	@echo "make demo         fit FlowDensity to a real table and draw it"
	@echo "make test         the test suite, doctests included"
	@echo "make test-long    the tests that take long: of every flow, at length"
	@echo "make test-oldest  the core tests under the oldest supported scikit-learn"
	@echo "make fuzz         ten thousand hostile tables, never the same, and two thousand damaged files (FUZZ_TABLES=500 for fewer)"
	@echo "make docs         the documentation site, in docs/_build/html, opened in a browser by its tests"
	@echo "make lint         ruff: rules and format"
	@echo "make format       apply ruff's fixes and format"

# A stamp file says that an environment is complete; it goes stale with the files that determine it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]" ruff
	@touch $@

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[test]"
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@

venv: $(VENV)/.installed

demo: venv
	$(BIN)/python examples/demo.py

test: venv
	$(TEST_ENV) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m "not long"

test-long: venv
	$(TEST_ENV) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m long

test-oldest: $(OLDEST)/.installed
	$(TEST_ENV) $(OLDEST)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m "not long" $(CORE_TESTS)

# Every property on its share of the tables; a failure prints the smallest one that was found.
fuzz: venv
	$(TEST_ENV) SKFLOW_FUZZ_TABLES=$(FUZZ_TABLES) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal tests/estimators/test_fuzz.py
	$(TEST_ENV) SKFLOW_FUZZ_FILES=$(FUZZ_FILES) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal tests/persistence/test_damaged_files.py

# Warnings are errors. No network is needed once the packages are installed, neither to build the site nor to read it.
docs: $(VENV)/.docs
	$(TEST_ENV) $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(TEST_ENV) $(BIN)/python -m pytest tests/docs/test_docs_site.py
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null \
		&& command -v chromedriver >/dev/null || echo "The site is built, but without chromium and chromedriver" \
		"its tests in the browser were skipped. On Debian: apt-get install chromium-driver"

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	find skflow \( -name "*.nbi" -o -name "*.nbc" \) -delete
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info .pytest_cache .ruff_cache examples/.ruff_cache
	rm -rf docs/_build docs/api docs/auto_examples docs/changelog.rst docs/sg_execution_times.rst
