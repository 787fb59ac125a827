# `make demo` and `make test` set up everything they need, on a fresh machine too.
PYTHON ?= python3
VENV   ?= .venv
# Where PyTorch comes from, if not from the usual registry: see the README, "With a GPU".
TORCH_INDEX ?=
# Tests at a time, one thread each: half as long as one at a time on all threads. In the order of their names: by
# their number, a file of few long tests would be left for the end.
JOBS   ?= 2
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SETUP  := $(VENV)/.ready

.PHONY: demo test lint clean

demo: $(SETUP)
	$(BIN)/internal-inpaint demo

test: $(SETUP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The environment follows setup.py and constraints.txt; the marker is made last, so that an
# installation that broke off is done again.
$(SETUP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt setuptools wheel
	$(PIP) -c constraints.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $(SETUP)

clean:
	rm -rf $(VENV) build dist core/*.egg-info *.egg-info demo_shot
