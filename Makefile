# The commands for users and developers of this project. `make` alone lists them.

PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=
PORT ?= 1110
METRICS_PORT ?= 9110
RULES ?= /etc/prometheus/rules
RUNBOOKS ?=
WORKERS ?= $(shell nproc)

VENV := .venv

# Otherwise some thousand processes would each compile all modules.
unexport PYTHONDONTWRITEBYTECODE

# One file per worker at a time: its tests share fixtures that are made once.
pytest = $(VENV)/bin/python -m pytest --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run check test lint style bench mutants dashboards pictures manuals deb install uninstall rules packages-build packages-deb packages-run packages-test packages-browser packages-bench
# In the order given: packages, then the virtual environment, then what runs in it.
.NOTPARALLEL:

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

run: packages-run $(VENV)/ready ## try it: a POP3 server with a demo account (PORT=1110 METRICS_PORT=9110)
	@exec $(VENV)/bin/python deploy/demo/run.py --port '$(PORT)' --metrics-port '$(METRICS_PORT)'

# mypy is one of the tests, tests/test_types.py, and runs beside the others.
check: packages-build style ## quick check: lint, types and the tests that start no server (WORKERS=cores)
# Many tests wait, so two workers share a core.
	$(pytest) -n $$(( 2 * $(WORKERS) )) -q -m 'not server'

test: packages-test style ## install what is missing, then run all checks and all tests (WORKERS=cores)
	$(pytest) -n $$(( 2 * $(WORKERS) ))

lint: packages-build style ## ruff and mypy --strict, over code and tests
	$(VENV)/bin/mypy

style: $(VENV)/with-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

bench: packages-bench $(VENV)/with-dev ## run the benchmarks
	$(VENV)/bin/python -m tests.bench

mutants: packages-test $(VENV)/with-dev $(VENV)/with-mutants ## mutation testing: break the code in small ways, and see that tests fail (takes hours)
	$(VENV)/bin/python -m tests.mutants

dashboards: packages-build $(VENV)/with-dev ## generate dashboards/*.json from dashboards/*.py
	$(VENV)/bin/python -m dashboards.build

pictures: packages-test $(VENV)/with-dev ## draw the README's picture from a real sidecar
	KEEP_PICTURES=dashboards $(VENV)/bin/python -m pytest tests/observability/status/test_browser.py

manuals: packages-build ## convert the manual pages to Markdown, for reading in a browser
	$(PYTHON) deploy/manuals.py

install: packages-build ## install under PREFIX (PREFIX=/usr/local DESTDIR= PYTHON=/usr/bin/python3)
	$(PYTHON) deploy/install.py --prefix '$(PREFIX)' --destdir '$(DESTDIR)' --python '$(PYTHON)'

uninstall: ## uninstall from PREFIX
	$(PYTHON) deploy/install.py --prefix '$(PREFIX)' --destdir '$(DESTDIR)' --python '$(PYTHON)' --uninstall

rules: ## install the alerts where Prometheus reads them (RULES=/etc/prometheus/rules RUNBOOKS=https://...)
	@$(PYTHON) deploy/rules.py --rules '$(RULES)' --runbooks '$(RUNBOOKS)'

deb: packages-deb ## build a Debian package into dist/
	$(PYTHON) deploy/debian/build.py --output dist

packages-build packages-deb packages-run packages-test packages-browser packages-bench:
	@deploy/setup/packages.sh $(@:packages-%=%) '$(PYTHON)'

# The product's dependencies; updated in place when pyproject.toml has changed.
$(VENV)/ready: pyproject.toml deploy/setup/requirements.py | $(VENV)/bin/pip
	@echo 'Installing the dependencies in pyproject.toml in $(VENV).'
	@$(pip_install)

# The same, with an extra of pyproject.toml.
$(VENV)/with-%: pyproject.toml deploy/setup/requirements.py | $(VENV)/bin/pip
	@echo 'Installing the dependencies in pyproject.toml, and those of "$*", in $(VENV).'
	@$(pip_install)
	@touch $(VENV)/ready

# pip is what comes last into a new environment.
$(VENV)/bin/pip:
	@echo 'Creating the virtual environment $(VENV).'
	@$(PYTHON) -m venv $(VENV)

# The list of requirements is the stamp: it gets its final name only after pip has installed all of them.
define pip_install
$(PYTHON) deploy/setup/requirements.py $* >$@.new && \
$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $@.new && mv $@.new $@
endef
