# make install, make run, make test: each does all the set-up it needs. Python 3.11 and a C++
# compiler (TVM links kernels with it) are all that a machine must have.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= model=dgp workload=resnet18
# Which mutants: names of functions or modules, with *.
MUTANTS ?= dgtl.results.metrics*

.PHONY: install run test check docs mutants lock
install: $(VENV)/.ready

run: $(VENV)/.ready
	$(BIN)/python run.py $(ARGS)

# What Python compiles is kept, whatever the environment says: the tests start hundreds of processes.
test: $(VENV)/.ready
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Every command and link of the documents, see scripts/check_docs.py.
docs: $(VENV)/.ready
	$(BIN)/python scripts/check_docs.py

# Faults planted one at a time, and whether a test notices: see CONTRIBUTING.md. Not in CI. One
# thread for each child, as several run side by side.
mutants: $(VENV)/.ready
	$(BIN)/pip install --quiet "mutmut>=3.8,<4"
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/mutmut run $(MUTANTS)
	$(BIN)/mutmut results | grep -v 'not checked'

# Exact versions and hashes; the index is pip's own setting.
lock:
	uv pip compile pyproject.toml --extra dev --extra cuda --generate-hashes \
		--python-version 3.11 --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links -o requirements.lock

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
