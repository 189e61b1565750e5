# Everything here needs Python 3.11+, make and git, and nothing else.

PYTHON ?= python3
REPO ?= .
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
SPHINX := $(BIN)/python -m sphinx --quiet --fresh-env --nitpicky --fail-on-warning --doctree-dir build/.doctrees
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)

# Without its cache Python compiles all that it imports each time, in each process of the tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo quick test slow bench chaos model docs check format lock clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/installed ## Stream a git history (REPO=path) through Kafka into a search, and verify it
	@$(BIN)/python -m eventsourcing_kafka compose demo $(REPO)

quick: .venv/installed ## Run the tests that need no server
	@$(BIN)/python -m pytest -m quick --numprocesses 2 --dist worksteal $(ARGS)

test: .venv/installed ## Run the tests, against a real Kafka and a real Postgres
	@$(PYTEST) -m "not slow" $(ARGS)

slow: .venv/installed ## Run the tests that start programs of their own: builds, browsers, servers, chaos
	@$(PYTEST) -m slow $(ARGS)

bench: .venv/installed ## Measure everything against its floor, into build/bench.* (QUICK=1, REPO=path)
	@$(BIN)/python -m tests.benchmarks $(if $(QUICK),--quick) $(if $(filter command environment,$(origin REPO)),--repo $(REPO))

chaos: .venv/installed ## Break everything for ten minutes, by a seeded schedule (CHAOS_SEED=, CHAOS_SECONDS=)
	@$(BIN)/python -m tests.chaos

model: .venv/installed ## Explore all that can happen between relay and view, further than the tests do (ARGS=--stories)
	@$(BIN)/python -m tests.model $(ARGS)

# A heading, a page or a file that a link names and that is not there is an error.
docs: .venv/installed ## Make the pages of docs/ a site in build/docs, and check its links (LINKS=1: those to others, too)
	@$(BIN)/typer eventsourcing_kafka.__main__ utils docs --name eventsourcing-kafka --title Commands --output docs/COMMANDS.md > /dev/null
	@$(SPHINX) -b html docs build/docs
	@$(if $(LINKS),$(SPHINX) -b linkcheck docs build/links)
	@echo "The site is in build/docs: its links lead somewhere"

check: .venv/installed docs ## Run the linters and the type checker, make the site, and look for known vulnerabilities
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m tests.dependencies & audit=$$!; $(BIN)/mypy; types=$$?; wait $$audit && exit $$types

format: .venv/installed ## Format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

# The lock keeps names, versions and hashes. Download addresses are left to the index in use,
# so that a mirror serves as well.
lock: .venv/installed ## Resolve the dependencies anew, into uv.lock
	@$(UV) lock --upgrade
	@sed -E -i.bak -e 's#registry = "[^"]*"#registry = "index"#' \
		-e 's#\{ url = "[^"]*/([^"/]+)"#{ filename = "\1"#' uv.lock && rm uv.lock.bak

clean: ## Remove what was made here
	rm -rf docs/COMMANDS.md .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/installed: uv.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet "uv>=0.9,<1"
	@$(UV) export --frozen --quiet --all-extras --no-emit-project > .venv/requirements.txt
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --require-hashes -r .venv/requirements.txt
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
