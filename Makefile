# What a developer does. `make` alone lists it.

PYTHON ?= python3
PORT ?= 3000
BIN := .venv/bin
STATE = $(shell $(BIN)/elysiactl index where)
COLLECTION ?= ElysiaDagster
SECONDS ?= 300
FUZZ ?= lines paths text chunks

.PHONY: help dagster-home sync dev weaviate weaviate-server test endure lint fuzz soak beside stateful mutants docs docs-check bench lock clean

help:
	@echo "make sync             environment, then the main job on this repository, into the embedded store"
	@echo "make dev              Dagster's web server on http://127.0.0.1:$(PORT) and its daemon, which looks into the inbox"
	@echo "make weaviate         a Weaviate server on http://127.0.0.1:8080, built first where it is not there (needs Go)"
	@echo "make weaviate-server  builds that server, and starts none"
	@echo "make test             the whole suite; where Go is there it builds the Weaviate server first, once"
	@echo "make endure           stopped past a lease and overtaken, power lost, resources used up: at every place (15 minutes)"
	@echo "make lint             ruff and mypy"
	@echo "make fuzz             looks for input that does harm, guided by coverage (SECONDS=300 for each target; FUZZ=text for one)"
	@echo "make mutants          breaks the most delicate lines, one at a time, in a copy: a test must fail (MUTANTS=NAME for one)"
	@echo "make soak             kills at random and compares everything (KILLS=200 STORE=lancedb|weaviate SEED= ONLY=story)"
	@echo "make beside           eight syncs at once, and all that may run beside them (ROUNDS=3), on SQLite and PostgreSQL"
	@echo "make stateful         syncs, kills, retries, repairs, rebuilds in any order against a model (EXAMPLES=200 sequences)"
	@echo "make docs             makes the pages that are made of the sources; make docs-check runs every command of all pages"
	@echo "make bench            the table of speed and memory (about 30 minutes; BENCH=--quick for a short form)"
	@echo "make lock             resolves the dependencies of pyproject.toml anew into requirements.lock (needs uv)"

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "This needs Python 3.11 or newer as $(PYTHON): install it, or name it with make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This needs Python's venv module: install it (on Debian: apt-get install python3-venv)"; exit 1; }
	@command -v git >/dev/null || { echo "This needs git: install it"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# DAGSTER_HOME, the same for sync and dev: a folder of the state. Its dagster.yaml is copied once, and yours from then on.
dagster-home: .venv/installed
	@mkdir -p "$(STATE)/dagster"
	@test -e "$(STATE)/dagster/dagster.yaml" || cp deploy/sqlite/dagster.yaml "$(STATE)/dagster/dagster.yaml"

sync: dagster-home
	@mkdir -p "$(STATE)/own"
	@git ls-files > "$(STATE)/own/files.txt"
	@printf 'ops:\n  read_changeset:\n    config:\n      changeset: "%s"\n      collection: %s\n      root: ["%s"]\n' \
	  "$(STATE)/own/files.txt" "$(COLLECTION)" "$(CURDIR)" > "$(STATE)/own/run.yaml"
	DAGSTER_HOME="$(STATE)/dagster" $(BIN)/dagster job execute -m elysia_dagster.definitions -j sync_changeset \
	  -c "$(STATE)/own/run.yaml" 2> "$(STATE)/own/run.log" || { tail -n 40 "$(STATE)/own/run.log"; exit 1; }
	@echo
	@$(BIN)/elysiactl index status --run-id "$$($(BIN)/elysiactl index status --json | \
	  $(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)[0]["run_id"])')"
	@echo
	$(BIN)/elysiactl index search "where is a batch settled" --collection $(COLLECTION) -k 3

# Ctrl-C ends both. ELYSIACTL_INBOX, ELYSIACTL_ROOT, ELYSIACTL_COLLECTION and every other setting reach the runs.
dev: dagster-home
	@inbox="$$($(BIN)/elysiactl index where --inbox)" && mkdir -p "$$inbox" && \
	  echo "Dagster's web server: http://127.0.0.1:$(PORT)" && echo "Inbox: $$inbox"
	@DAGSTER_HOME="$(STATE)/dagster" exec $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

# A server with its data in the state folder; Ctrl-C ends it.
weaviate: .venv/installed
	@$(BIN)/python -m tests.weaviate_server run "$(STATE)/weaviate"

# Built once, and kept outside the tree.
weaviate-server: .venv/installed
	@$(BIN)/python -m tests.weaviate_server get

# Without the server the tests that need one are skipped, and said to be; in continuous integration it has to be there.
test: .venv/installed
	@$(BIN)/python -m tests.weaviate_server get || test "$$CI" != true
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

# The suite plays some of these places.
endure: .venv/installed
	LONG=1 $(BIN)/python -m pytest -n 2 tests/crash/test_two_hosts.py tests/crash/test_power_lost.py \
	  tests/crash/test_used_up.py tests/integration/test_lancedb_power_loss.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Installed beside the environment, since not every Python has it.
fuzz: .venv/installed
	@PYTHONPATH=.fuzz/site $(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
	    --target .fuzz/site -r fuzz/requirements.txt || \
	  { echo "This needs atheris, which has no wheel for this Python: name another with make PYTHON=/path/to/python3.13"; exit 1; }
	@for target in $(FUZZ); do \
	  PYTHONPATH=.fuzz/site $(BIN)/python -m fuzz $$target $(SECONDS) || exit 1; done

# In a copy of the tree: nothing is changed here.
mutants: .venv/installed
	$(BIN)/python -m tests.mutants $(MUTANTS)

# About a second for each kill; the seed is printed, and what was found is kept.
soak: .venv/installed
	@KILLS="$(KILLS)" STORE="$(STORE)" SEED="$(SEED)" ONLY="$(ONLY)" LINES="$(LINES)" SHORT="$(SHORT)" \
	  $(BIN)/python -W ignore -m tests.soak

# Eight syncs and all that may run beside them, on SQLite and PostgreSQL.
beside: .venv/installed
	@BESIDE=1 ROUNDS="$(ROUNDS)" LINES="$(LINES)" $(BIN)/python -W ignore -m tests.soak

# The suite plays a few, always the same; here they are other ones each time.
stateful: .venv/installed
	EXAMPLES="$(or $(EXAMPLES),200)" $(BIN)/python -m pytest -q -x -s tests/stateful

docs: .venv/installed
	$(BIN)/python -m tests.pages write

docs-check: .venv/installed
	$(BIN)/python -m tests.pages check

bench: .venv/installed
	$(BIN)/python -m benchmarks $(BENCH)

# The lock names no package host: every file is known by its hash.
lock:
	uv pip compile pyproject.toml --extra dev --extra postgres --extra openai --universal --python-version 3.11 \
	  --generate-hashes --no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file requirements.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
