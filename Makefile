# One command for everything. Needs python3 (3.11 or newer) and make; the rest is installed into .venv.
# Recipes use relative paths only, so that the checkout may lie on a path with spaces.

PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet

.PHONY: help run test check bench lock clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

run: .venv/runtime ## Start the system with demo traffic and open the console
	@$(PY) -m askpro_console --demo

test: .venv/dev ## Run all tests (own servers, no network)
	@$(PY) -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

check: .venv/dev ## Lint, format check, strict types, import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(PY) -m mypy
	@$(PY) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

bench: .venv/dev ## Measure; writes bench/results/*.json
	@$(PY) -m bench

lock: .venv/dev ## Compile the pinned, hashed requirements from pyproject.toml
	@$(PIP) install uv
	@for extra in runtime dev; do \
	  out=requirements.lock; flags="--extra build"; \
	  if [ $$extra = dev ]; then out=requirements-dev.lock; flags="--extra build --extra dev -c requirements.lock"; fi; \
	  $(PY) -m uv pip compile --quiet pyproject.toml $$flags --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" -o $$out || exit 1; \
	done

clean: ## Remove the virtual environment, caches and results (never the system's data)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build bench/results *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "AskPro needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Try: make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }

.venv/runtime: .venv/bin/python requirements.lock pyproject.toml
	@echo "Installing AskPro into .venv (once; about half a minute) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

.venv/dev: .venv/runtime requirements-dev.lock
	@echo "Installing the development tools into .venv ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
