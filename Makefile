# make run   the whole chain with the UI     make test  the whole suite
PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' constraints.txt)

export DAGSTER_HOME ?= $(CURDIR)/.dagster
# Two runs at once share the cores; training takes half of them itself.
export OMP_NUM_THREADS ?= 1

.PHONY: run test lint pictures install lock audit sbom clean

run: $(VENV)/.installed
	$(BIN)/dasanom run --port $(PORT)

# File by file, in order: the long ones are in the middle, and short ones fill the end.
test: $(VENV)/.installed-dev
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos
	$(BIN)/python docs/check_style.py

# The pictures of README and docs, from what `make run` made.
pictures: $(VENV)/.installed-dev
	$(BIN)/python docs/make_pictures.py

install: $(VENV)/.installed

# torch first and by its tested version: a bare `torch` may bring gigabytes for GPUs that are not there.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "dasanom needs Python 3.11 to 3.13: make run PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) && \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e . || \
	  { echo "Installation failed: is there a network? Once installed, make run works without."; exit 1; }
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Tools of the supply chain, apart from what they look at.
TOOLS := .tools
$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check uv pip-audit cyclonedx-bom
	@touch $@

LOCK := deploy/requirements.lock
lock: $(TOOLS)/.installed
	sed -n 1p $(LOCK) > $(LOCK).new
	$(TOOLS)/bin/uv pip compile pyproject.toml --extra s3 --extra postgres --extra formats -c constraints.txt \
	  --generate-hashes --python-version 3.12 --no-header --no-emit-index-url --no-annotate --quiet >> $(LOCK).new
	mv $(LOCK).new $(LOCK)

audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --disable-pip --require-hashes --strict -r $(LOCK)

sbom: $(VENV)/.installed $(TOOLS)/.installed
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python -o sbom.json

clean:
	rm -rf $(VENV) $(TOOLS)
