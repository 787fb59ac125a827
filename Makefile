# `make demo` and `make test` set up everything they need, on a fresh machine too.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SETUP  := $(VENV)/.ready

.PHONY: demo test lint benchmarks clean

demo: $(SETUP)
	$(BIN)/internal-inpaint demo

test: $(SETUP) lint
	$(BIN)/python -m pytest

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The environment follows setup.py and constraints.txt; the marker is made last, so that an
# installation that broke off is done again.
$(SETUP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $(SETUP)

clean:
	rm -rf $(VENV) build dist core/*.egg-info *.egg-info demo_shot
