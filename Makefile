# Everything a person needs: `make run`, `make test`. Each target installs what it needs, and no more, into .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.ready-to-run
TEST_READY := $(VENV)/.ready-to-test
CODE := service workers sandbox dcbridge tests benchmarks helm

# Python keeps what it compiled, whatever the shell says: each process that starts without it compiles 800 modules anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run demo test test-quick lint format judges browser bench lock upgrade docs clean

run: $(RUN_READY) ## everything on this computer; the page is at http://127.0.0.1:8090/
	@$(BIN)/dcbridge dev

demo: $(RUN_READY) ## play the documented flows and compare each step with the document
	@$(BIN)/dcbridge demo

test: $(TEST_READY) ## the whole suite, against a real Redis, real processes and real sockets
	$(BIN)/python -m pytest

test-quick: $(TEST_READY) ## what a change is likely to break, in about a minute: no faults, flows, benchmarks, running pods
	$(BIN)/python -m pytest --quick

lint: $(TEST_READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/python -m tests.ledger.lint_lua
	$(BIN)/mypy

format: $(TEST_READY)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

judges: $(TEST_READY) ## programs of others against the sandbox and our clients; needs Node.js and npm (docs/judges.md)
	$(BIN)/python -m tests.judges

browser: $(TEST_READY) ## each page of the console in Chromium: screenshots in build/browser/shots, axe-core, a journey; needs chromium and npm
	$(call install,--require-hashes -r requirements/browser.txt)
	mkdir -p build/browser && cp tests/browser/node/package*.json build/browser/
	npm ci --prefix build/browser --ignore-scripts --no-audit --no-fund
	$(BIN)/python -m pytest -n 0 --timeout 900 tests/browser

bench: $(TEST_READY) ## figures, each beside its baseline in the same run
	$(BIN)/python -m benchmarks

docs: $(TEST_READY) ## the pages that are made from the code, and the chart's schema
	$(BIN)/python -m dcbridge.config.reference > docs/configuration.md
	$(BIN)/python -m dcbridge.ledger.fields_page docs/architecture.md
	$(BIN)/python -m helm.reference

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install

# uv installs in a tenth of pip's time. Where there is no wheel of it, or it does not reach the packages (it reads no
# pip.conf), pip installs the same; .venv/uv.log says why. Neither compiles: a process does, what it imports, once.
define install
$(BIN)/uv pip install --quiet --python $(BIN)/python $(1) 2>$(VENV)/uv.log || $(PIP) --no-compile $(1)
endef

$(RUN_READY): requirements/dev.txt requirements/uv.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("dcbridge needs Python 3.11 or newer; try make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --only-binary :all: --require-hashes -r requirements/uv.txt 2>$(VENV)/uv.log || true
	$(call install,--require-hashes -r requirements/dev.txt)
	$(call install,--no-deps --no-build-isolation --editable .)
	@touch $@

$(TEST_READY): requirements/test.txt $(RUN_READY)
	$(call install,--require-hashes -r requirements/test.txt)
	@touch $@

# Versions and hashes, for every supported Python at once; no addresses. `lock` keeps each version that pyproject.toml still
# allows; `upgrade` takes the newest.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --no-annotate --quiet $(UPGRADE)
IMAGE := $(addprefix --extra ,console doctor otel amqp nats kafka)
upgrade: UPGRADE := --upgrade
lock upgrade: $(TEST_READY)
	$(PIP) --upgrade uv
	$(COMPILE) pyproject.toml --output-file requirements/run.txt
	$(COMPILE) pyproject.toml $(IMAGE) --output-file requirements/image.txt
	$(COMPILE) pyproject.toml --extra trial $(IMAGE) --output-file requirements/trial.txt
	$(COMPILE) --group build --output-file requirements/build.txt
	$(COMPILE) --group lock --output-file requirements/uv.txt
	$(COMPILE) --group browser --output-file requirements/browser.txt
	$(COMPILE) pyproject.toml --extra dev --group build --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --all-extras --group test --group build --output-file requirements/test.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
