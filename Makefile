# Everything a person needs: `make run`, `make test`. Each target installs what it needs into .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := bridge service workers sandbox dcbridge tests benchmarks helm

.PHONY: run demo test lint format bench lock docs clean

run: $(READY) ## everything on this computer; the page is at http://127.0.0.1:8090/
	@$(BIN)/dcbridge dev

demo: $(READY) ## play the documented flows and compare each step with the document
	@$(BIN)/dcbridge demo

test: $(READY) ## the whole suite, against a real Redis, real processes and real sockets
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(READY) ## figures, each beside its baseline in the same run
	$(BIN)/python -m benchmarks

docs: $(READY) ## the pages that are made from the code, and the chart's schema
	$(BIN)/python -m bridge.configuration_reference > docs/configuration.md
	$(BIN)/python -m helm.reference

$(READY): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("dcbridge needs Python 3.11 or newer; try make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

# Versions and hashes, for every supported Python at once; no addresses.
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-annotate --quiet
lock: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) --upgrade --output-file requirements/run.txt
	$(LOCK) --upgrade --extra image --extra amqp --extra nats --extra kafka --output-file requirements/image.txt
	$(subst pyproject.toml,,$(LOCK)) --upgrade --group build --output-file requirements/build.txt
	$(LOCK) --upgrade --all-extras --group test --group build --output-file requirements/dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
