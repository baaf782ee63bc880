# Everything is installed into .venv, and again when setup.py or requirements.txt has changed.
PYTHON ?= python3
BIN := .venv/bin
# Tests mostly wait for their processes, so more run at once than there are cores.
TESTS_AT_ONCE ?= 4
UNIT_TESTS := tests/gischat tests/worker $(wildcard tests/test_*.py)
# Seconds for each of some twenty proofs in test-long, two of which run at once
LONG ?= 60
SEEDS ?= 10000
ROUNDS ?= 1
PEOPLE ?= 100000

DENO := $(BIN)/python deploy/page.py deno
# The page's bundled map
MAP := gischat/web/built/sources.sha256

export PYTHON
# So that the tests' processes share compiled modules
unexport PYTHONDONTWRITEBYTECODE
# Hypothesis' plugins import trio, which takes long and is not used
export HYPOTHESIS_NO_PLUGINS := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run check status test test-unit test-long check-alerts check-qgis simulate bench bench-100k lint audit lock release deb check-deb format clean

help:
	@echo "make run      run the chat in the foreground; Ctrl-C stops it"
	@echo "make check    check whether it will run here, and say what to fix"
	@echo "make status   show its health and processes (scale it with: .venv/bin/gischat scale light 3)"
	@echo "make test     run all tests"
	@echo "make test-unit   run the tests that start no processes, in some seconds"
	@echo "make test-long   run the randomised proofs for longer: LONG=60 seconds each; reports in .cache/reports"
	@echo "make check-alerts   test the alert rules, with promtool and a real Prometheus"
	@echo "make check-qgis QCHAT_PLUGIN=~/.../plugins/qchat   test with a real QGIS and that plugin"
	@echo "make simulate run thousands of orders of events and faults, in virtual time: SEEDS=10000"
	@echo "make bench    measure the cost of messages, photos and clients: ROUNDS=3, QUICK=1, RECORD=1"
	@echo "make bench-100k   connect a hundred thousand people to this machine, as root: PEOPLE=100000"
	@echo "make lint     run ruff and mypy; deno for the page's code"
	@echo "make audit    find known vulnerabilities in installed packages (asks PyPI's advisories)"
	@echo "make lock     update constraints.txt to the newest versions of all dependencies"
	@echo "make release  build, check and tag the version of gischat/__init__.py and CHANGELOG.md"
	@echo "make deb      build dist/gischat_VERSION_ARCH.deb, for this Debian"
	@echo "make check-deb   … and install, upgrade and purge it in a Debian of its own, as root"
	@echo "make format   fix what ruff and deno can fix"
	@echo "make clean    remove everything that make has made; the chat's data (.state) stays"

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
		tests/proofs tests/web tests/gischat/front/transport/test_conformance.py $(PYTEST_ARGS)

# Not part of `make test`, since installing Prometheus starts a service of that name.
check-alerts: .venv/.installed-dev
	@tests/install-tools alerts
	@promtool check config deploy/prometheus/prometheus.yml
	@promtool test rules tests/prometheus/alerts_test.yml
	@$(BIN)/python -m pytest -q tests/prometheus/check_prometheus.py

# Not part of `make test`, since it needs QGIS and the plugin, which it does not install.
check-qgis: .venv/.installed-dev
	@$(BIN)/python -m tests.clients.check_qgis "$(QCHAT_PLUGIN)"

bench: .venv/.installed-run
	@$(BIN)/python -m bench --rounds $(ROUNDS) $(if $(QUICK),--quick) $(if $(RECORD),--record)

bench-100k: .venv/.installed-run
	@$(BIN)/python -m bench.many --people $(PEOPLE)

simulate: .venv/.installed-dev
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

lint: .venv/.installed-dev $(MAP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy gischat worker bench
	@$(DENO) lint --quiet
	@$(DENO) fmt --quiet --check
	@$(DENO) check --quiet gischat/web tests/web

# Strict: a package that cannot be looked up is a failure.
audit: .venv/.installed-audit
	@$(BIN)/python -m pip freeze --exclude-editable >.venv/frozen.txt
	@$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r .venv/frozen.txt

# For all supported versions of Python, with markers where they differ.
lock: .venv/.installed-lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make lock" --output-file constraints.txt setup.py

release: .venv/.installed-release
	@deploy/release

deb: .venv/.installed-release
	@deploy/deb/build

# Not part of `make test`, since setting up a Debian takes minutes.
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
