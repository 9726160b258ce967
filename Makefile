# Everything happens in .venv, made from the pinned requirements on first use and again when they
# change. Needs Python 3.10-3.12 and a package index, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN := $(BIN)/gan3d-bench

# uv if it is there (it installs torch in a fraction of pip's time), else a copy inside .venv.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo $(BIN)/uv)

# Python keeps what it has compiled, also where the shell (of a container, say) forbids it: the
# installer compiles nothing, and a process that trains starts in less than half the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint format tables docs perf requirements clean
.DEFAULT_GOAL := test

demo: $(READY)
	$(RUN) fit --method gan2shape
	$(RUN) eval --table shape --method gan2shape

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# prints the tables of README.md and docs/ from results/*.json
tables: $(READY)
	$(BIN)/python tools/readme_tables.py

docs: $(READY)
	$(BIN)/python docs/build.py

# as the command line does: glibc keeps large blocks instead of faulting their pages in again
perf: export MALLOC_MMAP_THRESHOLD_ = 4294967296
perf: export MALLOC_TRIM_THRESHOLD_ = 8589934592
perf: $(READY)
	for file in perf/*.py; do $(BIN)/python -m perf.$$(basename $$file .py) || exit 1; done

# Pins for Python 3.10-3.12 on every platform, with hashes, without index addresses. PyTorch3D is
# among them, so torch stays at the newest that its package was built with.
COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --quiet \
	--custom-compile-command "make requirements"
requirements:
	$(COMPILE) --extra pytorch3d --output-file requirements/runtime.txt
	$(COMPILE) --extra dev --constraint requirements/runtime.txt --output-file requirements/dev.txt

$(READY): requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet uv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV)
