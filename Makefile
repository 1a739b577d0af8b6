# make serve   set up and run everything       (OPENCODE_PORT=9000 make serve ARGS=--verbose)
# make demo    a real agent at work, without a key  (make demo ARGS="--once --pace 0")
# make test    set up, lint and run all tests  (make test ARGS="-k websocket -x"; REQUIRE_ALL=1: a skip is a failure)
# make fast    the tests that start nothing and need nothing, within a minute
# make chaos   the promises about crashes, with all their numbers   (make chaos ROUNDS=1 SEED=42 repeats a round)
# make docs    writes what is generated: docs/configuration.md and .env.example
# make bench   measures everything against its targets   (make bench ARGS="--only ping,fanout")
# Needs Python 3.11 or newer with pip and venv. Nothing is downloaded again until a lock file changes.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Linting loads the settings, which make their data directory: never the one that somebody works with.
LINT := OPENCODE_DATA_DIR=.cache/lint
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq --require-hashes --no-deps
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-header --no-emit-index-url --no-annotate --no-config

.DEFAULT_GOAL := serve
.PHONY: serve demo test fast chaos docs bench lint format install install-dev lock upgrade clean
.DELETE_ON_ERROR:

serve: $(VENV)/base.stamp
	@exec $(BIN)/python manage.py serve $(ARGS)

demo: $(VENV)/base.stamp
	@exec $(BIN)/python manage.py demo $(ARGS)

# Each test module stays with one worker, so that its tests share the server that they start. Four workers keep two
# cores busy, since most tests wait for processes. The order is that of tests/turns.py. A worker that dies is not
# replaced: pytest-xdist 3.8 would wait for ever for what that one has left (pytest-dev/pytest-xdist #1378).
test: lint
	@$(BIN)/python -m pytest --numprocesses 4 --dist loadscope --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

fast: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --max-worker-restart 0 \
		-m "not (starts or slow or alone or browser or real or postgres)" $(ARGS)

ROUNDS ?= 200
chaos: $(VENV)/dev.stamp
	@CHAOS_FULL=1 CHAOS_ROUNDS=$(ROUNDS) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -p no:randomly \
		$(if $(SEED),tests/chaos/test_rounds.py,tests/chaos) $(ARGS)

docs: $(VENV)/base.stamp
	@OPENCODE_ENV_FILE=/dev/null $(LINT) $(BIN)/python -m opencode_site.configuration

bench: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.benchmarks $(ARGS)

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(LINT) $(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(LINT) $(BIN)/python manage.py makemigrations --check --dry-run

format: $(VENV)/dev.stamp
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

install: $(VENV)/base.stamp

install-dev: $(VENV)/dev.stamp

# Writes the locks for what requirements/*.in ask for, keeping versions that still fit; `make upgrade` takes the newest.
lock: $(VENV)/dev.stamp
	$(LOCK) requirements/base.in --output-file requirements/base.txt
	$(LOCK) requirements/dev.in --output-file requirements/dev.txt

upgrade: LOCK += --upgrade
upgrade: lock

# Takes away what was installed and cached, never the data directory (var/).
clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; this is " \
		+ sys.version.split()[0] + ". Another one: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: no virtual environment could be made; on Debian and \
	Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/base.stamp: requirements/base.txt $(VENV)/pyvenv.cfg
	@echo "Installing the server's packages into $(VENV) (once; about half a minute) ..."
	@$(INSTALL) -r requirements/base.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/base.stamp
	@echo "Installing what the tests need into $(VENV) ..."
	@$(INSTALL) -r requirements/dev.txt
	@touch $@
