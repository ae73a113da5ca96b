# Two commands for a fresh clone: `make demo` and `make test`. Both need nothing but Python >= 3.11 and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= test

.PHONY: demo test coverage lint docs clean

# 500 faces with the bundled generator, their expressions, and the report
demo: $(VENV)/.installed
	$(BIN)/fergan run --n 500 --run demo
	@echo "Open $(CURDIR)/runs/demo/report.html in a browser."

# as many processes as there are cores, each of one thread: the tests are many and small
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(PYTEST)

# the same, with the share of lines that ran within the tests' own processes
coverage: PYTEST = --cov --cov-report=
coverage: test
	@echo "coverage: $$($(BIN)/coverage report --format=total) % of lines"

# mypy finds the package `fergan` through a link, since the repository root itself is the package
lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	mkdir -p build/typecheck && ln -sfn ../.. build/typecheck/fergan
	cd build/typecheck && ../../$(BIN)/mypy --config-file ../../setup.cfg -p fergan
	$(BIN)/lint-imports --config setup.cfg

# the documentation site, strictly; read it with `python3 -m http.server --directory build/site`
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build runs
