# Targets print their help: make help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PARALLEL ?= --numprocesses=auto --maxprocesses=4 --dist=loadfile
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format ui bench lock clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: $(READY) ## make .venv with everything the locked versions say

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)

demo: $(READY) ## train MiniLM as ColBERT on the demo corpus and judge it; minutes on two cores, no network
	HF_HUB_OFFLINE=1 $(BIN)/python -m reasonir.train experiment=demo

test: $(READY) ## run the tests, without the slow ones and those that need a GPU
	$(BIN)/python -m pytest $(PARALLEL)

test-slow: $(READY) ## run the slow tests: fresh environments, kills at every step
	$(BIN)/python -m pytest -m slow $(PARALLEL)

check: $(READY) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: $(READY) ## open MLflow on the runs of this folder (or REASONIR_HOME), on this machine only
	$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///$(abspath $(or $(REASONIR_HOME),.))/mlflow.db

bench: $(READY) ## time a training step of retrievers and a reranker against PyLate and sentence-transformers
	HF_HUB_OFFLINE=1 $(BIN)/python -m reasonir.bench
	HF_HUB_OFFLINE=1 $(BIN)/python -m reasonir.bench model/head=biencoder contenders=biencoder
	HF_HUB_OFFLINE=1 $(BIN)/python -m reasonir.bench model/head=cross_encoder contenders=reranker

lock: ## resolve pyproject.toml into requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra offline --extra sweep --extra dev \
		--no-emit-index-url --no-header --no-annotate --output-file requirements.lock pyproject.toml

clean: ## remove the environment and what tools cached
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
