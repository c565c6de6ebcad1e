# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: bench-reconcile help demo decisions test torture bench bench-rollback test-prefect soak mutations lint types imports check wheel clean dashboard test-dashboard test-browser bench-browser screenshots test-supabase-js
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Crossfade needs Python 3.11 or newer; set PYTHON=python3.x"; rm -rf $(VENV); exit 2; }
	@echo "installing into $(VENV) (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## a whole migration of real events, with an outage and a rollback
	@test -f $(DASHBOARD) || { echo "building the pages (once)" && $(MAKE) --silent dashboard >/dev/null; } || echo "the pages could not be built; the demo goes on without them"
	@$(BIN)/crossfade demo $(ARGS)

test: $(STAMP) ## every test that needs no browser
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

torture: $(STAMP) ## the whole crash matrix: SIGKILL at every point between two steps (ARGS="--seeds 5")
	@$(BIN)/python -m tests.torture $(ARGS)

bench: $(STAMP) ## the data plane's figures (ARGS="publish latency --scale 0.1 --json"), the rollback's, the decision rules', the pages'; about 35 minutes
	@$(BIN)/python -m benchmarks $(ARGS)
ifeq ($(filter-out --write,$(ARGS)),)
	@$(BIN)/python -m benchmarks.rollback $(ARGS)
	@$(BIN)/python -m benchmarks.decisions $(if $(ARGS),--write docs/decisions.md,--years 5 --trials 5)
	@if scripts/need-chromium; then $(MAKE) --no-print-directory bench-browser ARGS= && $(MAKE) --no-print-directory bench-browser ARGS='--only-memory --minutes 10'; fi
endif

bench-reconcile: $(STAMP) ## the reconciliation beside its rivals (ARGS="--events 1000000 --rounds 3 --write")
	@$(BIN)/python -c 'import reladiff, duckdb' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt duckdb psycopg2-binary reladiff
	@$(BIN)/python -m benchmarks.reconcile $(ARGS)

bench-rollback: $(STAMP) ## breach to flags, to a verified rollback; a validation; Prefect's share (ARGS="--write")
	@$(BIN)/python -m benchmarks.rollback $(ARGS)

test-prefect: $(STAMP) ## Prefect killed at every step of a week, every deployment, eight weeks, alerts, two roles, PostgreSQL; some twenty minutes
	@$(BIN)/pytest tests/flows/kill_prefect.py tests/flows/whole_road.py tests/flows/eight_weeks.py tests/flows/telling.py tests/flows/two_roles.py tests/flows/prefect_on_postgres.py $(ARGS)

soak: $(STAMP) ## steady load under random faults (DURATION=10m, or 90s; ARGS="--json")
	@$(BIN)/python -m tests.soak --duration $(or $(DURATION),10m) $(ARGS)

mutations: $(STAMP) ## break the code on purpose, see the tests notice, write docs/mutations.md
	@$(BIN)/python -m scripts.mutations --write $(ARGS)

lint: $(STAMP) ## style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

imports: $(STAMP) ## who may import whom
	@$(BIN)/lint-imports

check: lint types imports test ## all of the above

wheel: $(STAMP) ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --outdir dist . >/dev/null && ls dist

DASHBOARD := crossfade/_bundle/dashboard/index.html
MODULES := dashboard/node_modules/.package-lock.json
PAGES := $(shell find dashboard/client/src dashboard/app -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)

$(MODULES): dashboard/package-lock.json dashboard/package.json dashboard/app/package.json dashboard/client/package.json | $(STAMP)
	@cd dashboard && ../scripts/with-node npm ci --silent --no-audit --no-fund && touch node_modules/.package-lock.json

$(DASHBOARD): $(MODULES) $(PAGES)
	@cd dashboard && ../scripts/with-node npm run --silent build --workspace app

dashboard: $(DASHBOARD) ## the pages that the control server serves (Node is taken from PyPI if there is none)

test-dashboard: $(MODULES) ## types and tests of the browser's part
	@cd dashboard && ../scripts/with-node npm run --silent types && ../scripts/with-node npm test --silent

# Playwright drives the Chromium that the system has.
PLAYWRIGHT = scripts/need-chromium && { $(BIN)/python -c 'import playwright' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt playwright; }

test-browser: $(DASHBOARD) ## the pages in a real Chromium (which must be installed), against the embedded stack
	@$(PLAYWRIGHT)
	@$(BIN)/pytest tests/browser -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

JS_SUITE := tests/supabase_js/node_modules/.package-lock.json

$(JS_SUITE): tests/supabase_js/package-lock.json tests/supabase_js/package.json | $(STAMP)
	@cd tests/supabase_js && ../../scripts/with-node npm ci --silent --no-audit --no-fund && touch node_modules/.package-lock.json

test-supabase-js: $(JS_SUITE) ## the official JavaScript client against the stand-in
	@scripts/with-node $(BIN)/python -m tests.supabase_js

bench-browser: $(DASHBOARD) ## the page's load time, long tasks at 1,000 events/s; memory with ARGS='--minutes 10'
	@$(PLAYWRIGHT)
	@$(BIN)/python -m benchmarks.browser $(ARGS)

screenshots: $(DASHBOARD) ## take the pictures of docs/screenshots again
	@$(PLAYWRIGHT)
	@$(BIN)/python -m tests.browser.screenshots

decisions: $(STAMP) ## simulate the decision rules anew: docs/decisions.md
	@$(BIN)/python -m benchmarks.decisions --write docs/decisions.md $(ARGS)

clean: ## remove what was built or installed here
	rm -rf $(VENV) dist build crossfade/_bundle dashboard/node_modules dashboard/client/dist tests/supabase_js/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
