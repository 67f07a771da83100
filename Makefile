# Each target sets up what it needs on a Debian or Ubuntu machine, as root. Nothing else is assumed:
# the system's own Python makes .tools (uv), and uv makes .venv from uv.lock.

PYTHON := /usr/bin/python3
UV_VERSION := 0.13.9
RELEASE ?= trixie
RUN := .venv/bin
SHELL := /bin/bash

# A site's own authorities are in the system's list; uv and older pips bring lists of their own.
export UV_SYSTEM_CERTS ?= true
export PIP_CERT ?= /etc/ssl/certs/ca-certificates.crt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The lock decides, not what a machine is set to.
UV := env -u UV_FIND_LINKS -u UV_EXTRA_INDEX_URL UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never .tools/bin/uv

# The box tests of a release that a marker chooses; its lines begin with the third word, or the release.
box = set -o pipefail; $(RUN)/python -m pytest tests/box -v --durations=10 --release $(1) -m '$(2)' 2>&1 \
    | sed -u 's/^/$(or $(3),$(1)): /'

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: .venv root ## boot a disposable machine, deploy to it, verify, print address and login
	@$(RUN)/jupyterbox demo up --release $(RELEASE)

.PHONY: demo-down
demo-down: .venv root ## remove that machine
	@$(RUN)/jupyterbox demo down

.PHONY: test
test: lint test-unit root browser ## everything: lint, unit tests, real machines with Debian 13 and 12
	@$(MAKE) --no-print-directory -j 2 test-trixie test-machines test-bookworm

# Two at a time, since much of a machine's time is waiting; each line says whose it is.
.PHONY: test-trixie test-machines test-bookworm
test-trixie: ; @$(call box,trixie,not machine)
test-machines: ; @$(call box,trixie,machine,machines)
test-bookworm: ; @$(call box,bookworm,not once and not machine)

.PHONY: test-unit
test-unit: .venv ## the tests that need no machine
	$(RUN)/python -m pytest tests/unit -q

.PHONY: test-box
test-box: .venv root browser ## the tests on a real machine; RELEASE=noble and so on for others
	$(RUN)/python -m pytest tests/box -v --durations=10 --release $(RELEASE) $(if $(TESTS),-m "$(TESTS)")

.PHONY: test-faults
test-faults: .venv root ## cut a deploy off at each of its remote commands, in each way: hours
	JUPYTERBOX_TEST_EVERY_CUT=1 $(RUN)/python -m pytest tests/box/test_h_faults.py -v -s --timeout 0

.PHONY: bench
bench: .venv root browser ## measure everything side by side, and renew docs/bench.md: hours; PARTS="noop start" for some
	$(RUN)/python -m bench $(PARTS) --release $(RELEASE)

.PHONY: lint
lint: .venv ## ruff and mypy
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

.PHONY: format
format: .venv ## let ruff format and fix
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

.PHONY: lock
lock: .tools/bin/uv ## the newest versions for uv.lock and for the hub's release
	$(UV) lock --upgrade
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.10 \
	    --no-header --default-index https://pypi.org/simple \
	    box/opt/jupyterhub/release/requirements.in -o box/opt/jupyterhub/release/requirements.txt

.PHONY: root
root:
	@test "$$(id -u)" = 0 || { echo 'A machine is booted by root: run this with sudo.' >&2; exit 1; }

.PHONY: browser
browser:
	@command -v chromium > /dev/null || { echo 'installing chromium'; \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium > /dev/null; }

.venv: .tools/bin/uv uv.lock pyproject.toml
	@echo 'setting up .venv'
	@$(UV) sync --quiet --locked
	@touch .venv

.tools/bin/uv:
	@echo 'setting up .tools'
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null && test -e $(PIP_CERT) || { \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
	        python3 python3-venv ca-certificates > /dev/null; }
	@$(PYTHON) -m venv .tools
	@.tools/bin/pip install --quiet uv==$(UV_VERSION)
