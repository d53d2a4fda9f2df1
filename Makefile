# Commands for users and developers. Everything runs in .venv, which is installed from the lock in envs/.
PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13,$(shell command -v python$(v))) python3)
BIN := .venv/bin
# Python compiles a module when it is first imported. To compile all of them took longer than to install them.
INSTALL := -m pip --disable-pip-version-check install --quiet --no-compile
PIP := $(BIN)/python $(INSTALL)
STUDY ?= quickstart
CONFIG = --config study=$(STUDY) $(if $(SCALE),scale=$(SCALE)) $(if $(OVERRIDES),overrides="$(OVERRIDES)")

# Python keeps compiled modules, also where containers turn it off: thousands of processes would each compile qatlab's modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: study report test test-all test-current test-oldest fuzz tutorials bench engines chaos lint lint-types lint-rest docs format audit lock clean help

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

study: .venv/.installed  ## run a study (STUDY=quickstart OVERRIDES="key=value …")
	$(BIN)/snakemake --cores all $(CONFIG)

report: study  ## run a study and write its results to one self-contained HTML page
	$(BIN)/snakemake --cores all $(CONFIG) --report results/studies/$(STUDY)/report.html
	@echo "results/studies/$(STUDY)/report.html"

# Three test files run at the same time, as one of them often waits. Passive waiting lets their threads share the cores.
PYTEST_IN_PARALLEL = OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test: .venv/.dev  ## run the tests that take seconds, among them one small study (six minutes on two cores)
	$(PYTEST_IN_PARALLEL) -m "not slow and not alone"

test-all: test-current test-oldest  ## run all tests: those of make test, slow ones, measurements and make test-oldest

test-current: .venv/.dev  ## run all tests but those of make test-oldest
	$(PYTEST_IN_PARALLEL) -m "not alone"
	$(BIN)/python -m pytest -m alone tests/bench

# These tests run against the wheel, in an environment with the oldest supported releases. None of them waits, so that two processes
# keep two cores busy.
test-oldest: .venv/.dev .venv-oldest/.installed  ## run the library's tests with sentence-transformers 5.7 and transformers 4.57
	rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	.venv-oldest/bin/python $(INSTALL) --no-deps --no-index --force-reinstall dist/*.whl
	.venv-oldest/bin/python -m pip check
	OMP_WAIT_POLICY=PASSIVE .venv-oldest/bin/python -m pytest -m "not alone" --numprocesses 2 --dist loadfile --no-loadscope-reorder $(OLDEST_TESTS)
OLDEST_TESTS := tests/test_imports.py tests/quantization tests/losses tests/test_bootstrap.py tests/test_permutation.py tests/test_power.py \
	tests/test_verdict.py tests/test_metrics.py tests/evaluation tests/deployments/test_onnx.py \
	tests/deployments/test_onnx_graph.py::test_every_architecture_computes_what_pytorch_does

# FUZZ multiplies the number of inputs that `make test-all` generates; another QATLAB_FUZZ_SEED generates other inputs.
FUZZ ?= 100
fuzz: .venv/.dev  ## test generated inputs: 10,000 configurations, 65,000 files, 300 models (two hours; FUZZ=10 for a tenth)
	QATLAB_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz --numprocesses 2 --dist load

tutorials: .venv/.dev  ## follow the four tutorials as printed, with the real model (a quarter of an hour)
	TUTORIALS=printed $(BIN)/python -m pytest tests/test_tutorials.py --durations=0

NAMES ?= $(filter engines,$(MAKECMDGOALS))
bench: .venv/.dev  ## measure time and memory relative to references: results/bench.csv (NAMES=study for one of them)
	$(BIN)/python -m qatlab bench $(NAMES)

engines: bench  ## after bench: measure search engines at a million documents (half an hour)
	@:

chaos: .venv/.dev  ## kill a study 66 times at random moments of every stage, and Slurm's jobs and node: results/chaos.csv
	mkdir -p results
	CHAOS=results/chaos.csv QATLAB_KILLS=66 $(BIN)/python -m pytest tests/workflow/test_killed.py tests/workflow/test_slurm.py
	@cat results/chaos.csv

lint: lint-types lint-rest  ## run ruff, the checker of language, mypy, import-linter, snakefmt and snakemake --lint

# A target of its own, so that `make --jobs 2 lint` runs mypy and the other checks at the same time.
lint-types: .venv/.dev
	$(BIN)/mypy

lint-rest: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/language.py
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(BIN)/snakemake --lint

# A warning, such as one about a link to a page or heading that does not exist, is an error. No network is used.
SITE ?= docs/_build
docs: .venv/.dev  ## build the documentation site: docs/_build/html/index.html
	$(BIN)/python -m sphinx -b html -E -n -W --keep-going -q -d $(SITE)/doctrees docs $(SITE)/html

format: .venv/.dev  ## format the code with ruff and snakefmt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules

audit: .venv/.installed .venv-audit/.installed  ## list known vulnerabilities of the lock, with the decision about each (envs/audit.yaml)
	$(BIN)/python -m qatlab audit

lock:  ## resolve envs/*.txt again (needs uv)
	@echo "torch ; sys_platform == 'never'" > .lock-overrides.txt
	uv pip compile pyproject.toml --extra workflow --extra slurm $(LOCK_OPTIONS) --constraints envs/constraints.txt -o envs/requirements.txt
	uv pip compile pyproject.toml --extra dev $(LOCK_OPTIONS) --constraints envs/constraints.txt --constraints envs/requirements.txt -o envs/dev.txt
	uv pip compile pyproject.toml envs/oldest.in --extra onnx $(LOCK_OPTIONS) -o envs/oldest.txt
	rm .lock-overrides.txt
	echo "pip-audit>=2.10,<3" | uv pip compile - $(filter-out --overrides .lock-overrides.txt,$(LOCK_OPTIONS)) -o envs/audit.txt
	echo "uv>=0.9" | uv pip compile - $(filter-out --overrides .lock-overrides.txt,$(LOCK_OPTIONS)) -o envs/uv.txt
# torch is pinned in envs/torch.txt, because each version has several files. Its CUDA packages are installed with it.
LOCK_OPTIONS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	--overrides .lock-overrides.txt --no-emit-package torch

clean:  ## remove the environments, but not the results
	rm -rf .venv .venv-oldest .venv-audit

.venv/.installed: envs/torch.txt envs/requirements.txt envs/uv.txt envs/install.sh pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "qatlab needs Python 3.11 or newer; name one with make PYTHON=…" >&2; exit 1; }
	@echo "installing .venv (takes a minute or two the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) -r envs/torch.txt
	@sh envs/install.sh .venv envs/requirements.txt
	@$(PIP) --no-deps --editable .
	@$(BIN)/python -m pip check
	@$(BIN)/python -c 'import $(IMPORTED)' > /dev/null 2>&1 || true
	@touch $@

.venv/.dev: envs/dev.txt .venv/.installed
	@sh envs/install.sh .venv envs/dev.txt
	@touch $@

.venv-oldest/.installed: envs/torch.txt envs/oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "qatlab needs Python 3.11 or newer; name one with make PYTHON=…" >&2; exit 1; }
	@test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python $(INSTALL) -r envs/torch.txt
	@sh envs/install.sh .venv-oldest envs/oldest.txt
	@.venv-oldest/bin/python -c 'import datasets, onnxruntime, onnxscript, scipy.stats, sentence_transformers, transformers.trainer' > /dev/null 2>&1 || true
	@touch $@

# Importing packages compiles them, which a later process cannot do where PYTHONDONTWRITEBYTECODE is set. It saves time and nothing else.
IMPORTED := faiss, hydra, matplotlib.pyplot, onnxruntime.quantization, onnxscript, pandas, scipy.stats, snakemake.cli, torch.onnx, \
	transformers.trainer, sentence_transformers.sentence_transformer.trainer, qatlab.plan.workflow

# pip-audit has its own environment, so that it does not become part of the one that it audits.
.venv-audit/.installed: envs/audit.txt
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	@sh envs/install.sh .venv-audit envs/audit.txt
	@touch $@
