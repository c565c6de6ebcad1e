# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Prefect keeps nothing in the user's home on our account.
export PREFECT_HOME ?= $(CURDIR)/.crossfade/prefect-home

.PHONY: help demo test lint types imports check wheel clean
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
	@$(BIN)/crossfade demo $(ARGS)

test: $(STAMP) ## every test that needs no browser
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

lint: $(STAMP) ## style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

imports: $(STAMP) ## who may import whom
	@$(BIN)/lint-imports

check: lint types imports test ## all of the above

wheel: $(STAMP) ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --outdir dist . >/dev/null && ls dist

clean: ## remove what was built or installed here
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
