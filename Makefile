# Everything is installed into .venv, and again whenever setup.py or requirements.txt have changed.
PYTHON ?= python3
BIN := .venv/bin
# Tests mostly wait, for processes of their own: more of them at once than there are cores.
TESTS_AT_ONCE ?= 4
UNIT_TESTS := tests/gischat tests/worker $(wildcard tests/test_*.py)
SECONDS ?= 600
# Seconds that each of some twenty proofs takes in test-long, two at once
LONG ?= 60
SEED ?= 1
SEEDS ?= 10000
ROUNDS ?= 1
PEOPLE ?= 100000

DENO := $(BIN)/python deploy/page.py deno
# The page's map, bundled
MAP := gischat/web/built/sources.sha256

export PYTHON
# What one of the tests' processes has compiled, the others need not.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run check status test test-unit test-long check-alerts check-qgis simulate soak bench bench-100k lint audit lock release deb check-deb format clean

help:
	@echo "make run      the chat, in the foreground; Ctrl-C stops it"
	@echo "make check    will it run here, and if not, what to mend"
	@echo "make status   is it well, and what runs (scale it with: .venv/bin/gischat scale light 3)"
	@echo "make test     all tests"
	@echo "make test-unit   those that start no processes, in some seconds: for while you type"
	@echo "make test-long   what is proved at random, for longer: LONG=60 seconds each; reports in .cache/reports"
	@echo "make check-alerts   the alert rules, by promtool and a real Prometheus"
	@echo "make check-qgis QCHAT_PLUGIN=~/.../plugins/qchat   with a real QGIS and that plugin"
	@echo "make simulate thousands of orders of events and faults, in virtual time: SEEDS=10000"
	@echo "make soak     all faults, mixed at random: SECONDS=600 SEED=1"
	@echo "make bench    what a message, a photo, a client costs: ROUNDS=3, QUICK=1, RECORD=1"
	@echo "make bench-100k   a hundred thousand people on this machine, in some ten minutes: PEOPLE=100000, as root"
	@echo "make lint     ruff and mypy; deno for the page's code"
	@echo "make audit    known vulnerabilities in what is installed (asks PyPI's advisories)"
	@echo "make lock     constraints.txt anew: the newest versions of all dependencies"
	@echo "make release  builds, checks and tags the version of gischat/__init__.py and CHANGELOG.md"
	@echo "make deb      dist/gischat_VERSION_ARCH.deb, for this Debian"
	@echo "make check-deb   … and installs, upgrades and purges it in a Debian of its own, as root"
	@echo "make format   what ruff and deno can put right by themselves"
	@echo "make clean    remove what make has made; the chat's data (.state) stays"

run: .venv/.installed-run $(MAP)
	@$(BIN)/python -m gischat up

check: .venv/.installed-run
	@$(BIN)/python -m gischat check --up

status: .venv/.installed-run
	@$(BIN)/python -m gischat status

test: .venv/.installed-dev $(MAP)
	@tests/install-tools
	@[ -e tests/__pycache__ ] || $(BIN)/python -m pytest --collect-only -qq >/dev/null || : # compiles once, not in each process
	@$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist worksteal $(PYTEST_ARGS)

test-unit: .venv/.installed-dev
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not (processes or slow)" $(UNIT_TESTS) $(PYTEST_ARGS)

test-long: .venv/.installed-dev
	@tests/install-tools
	@mkdir -p .cache/reports
	@$(BIN)/python -m pytest -n 2 --long $(LONG) --hypothesis-show-statistics --junit-xml .cache/reports/test-long.xml \
		tests/proofs tests/web/test_accessibility.py tests/gischat/front/transport/test_conformance.py $(PYTEST_ARGS)

# Apart from the tests, for installing Prometheus starts a service of that name.
check-alerts: .venv/.installed-dev
	@tests/install-tools alerts
	@promtool check config deploy/prometheus/prometheus.yml
	@promtool test rules tests/prometheus/alerts_test.yml
	@$(BIN)/python -m pytest -q tests/prometheus/check_prometheus.py

# Apart from the tests, for QGIS and the plugin are not everywhere; nothing is installed for it.
check-qgis: .venv/.installed-dev
	@$(BIN)/python -m tests.clients.check_qgis "$(QCHAT_PLUGIN)"

bench: .venv/.installed-run
	@$(BIN)/python -m bench --rounds $(ROUNDS) $(if $(QUICK),--quick) $(if $(RECORD),--record)

bench-100k: .venv/.installed-run
	@$(BIN)/python -m bench.many --people $(PEOPLE)

simulate: .venv/.installed-dev
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

soak: .venv/.installed-dev
	@$(BIN)/python -m tests.faults.soak --seconds $(SECONDS) --seed $(SEED)

lint: .venv/.installed-dev $(MAP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy gischat worker
	@$(DENO) lint --quiet
	@$(DENO) fmt --quiet --check
	@$(DENO) check --quiet gischat/web tests/web

# Strictly: what could not be looked up counts as a fault, not as fine.
audit: .venv/.installed-audit
	@$(BIN)/python -m pip freeze --exclude-editable >.venv/frozen.txt
	@$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r .venv/frozen.txt

# For every Python that we run on, with markers where they differ.
lock: .venv/.installed-lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make lock" --output-file constraints.txt setup.py

release: .venv/.installed-release
	@deploy/release

deb: .venv/.installed-release
	@deploy/deb/build

# Apart from the tests, for a Debian takes minutes.
check-deb: deb
	@tests/install-tools deb
	@deploy/deb/check dist/gischat_*.deb

format: .venv/.installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(DENO) fmt --quiet

clean:
	rm -rf .venv .cache *.egg-info build dist gischat/web/built

.venv/.installed-%: setup.py requirements.txt constraints.txt deploy/install
	@deploy/install $*

$(MAP): deno.json deno.lock deploy/page.py $(wildcard gischat/web/*.js gischat/web/map/*.js)
	@$(BIN)/python deploy/page.py bundle
