# Targets print their help: make help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEWEST := .venv-newest
NEWEST_READY := $(NEWEST)/.ready
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready
BENCH := HF_HUB_OFFLINE=1 $(BIN)/python -m reasonir.bench --multirun
PARALLEL ?= --numprocesses=auto --maxprocesses=4
export HF_HUB_DISABLE_TELEMETRY := 1
# Tests start many commands: they need cached bytecode, and cores that nobody waits on busily.
unexport PYTHONDONTWRITEBYTECODE
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-newest faults check format ui bench bench-peers bench-gpu proof wheelhouse lock docs clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: $(READY) ## create .venv with the locked versions

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)

demo: $(READY) ## train MiniLM as ColBERT on the demo corpus and evaluate it; minutes on two cores, no network
	HF_HUB_OFFLINE=1 $(BIN)/python -m reasonir.train experiment=demo

test: $(READY) ## run the tests, without the slow ones and those that need a GPU
	$(BIN)/python -m pytest $(PARALLEL) --dist=worksteal

test-slow: $(READY) ## run the slow tests: fresh environments, kills at every step, races against peers, a browser
	$(BIN)/python -m pytest -m slow $(PARALLEL) --dist=loadfile $(addprefix --ignore=,$(LEAVE_OUT))

test-newest: $(NEWEST_READY) ## run the tests with the newest torch, transformers and sentence-transformers, without PyLate; TESTS=folder
	$(NEWEST)/bin/python -m pytest $(PARALLEL) --dist=worksteal $(TESTS)

$(NEWEST_READY): requirements-newest.lock pyproject.toml | $(READY)
	$(PYTHON) -m venv $(NEWEST)
	$(BIN)/uv pip install --quiet --python $(NEWEST)/bin/python --requirement requirements-newest.lock
	$(BIN)/uv pip install --quiet --python $(NEWEST)/bin/python --no-deps --editable .
	@touch $(NEWEST_READY)

faults: $(READY) ## try kills, full disks, flipped bits, races and hostile input; prints what was tried, held and lost
	$(BIN)/python -m pytest -s -m slow tests/faults

check: $(READY) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY) ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: $(READY) ## open MLflow on the runs of this folder (or REASONIR_HOME), on this machine only
	$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri "$$($(BIN)/python -c 'from pathlib import Path; \
		from reasonir.config import reasonir_home; from reasonir.tracking.database import address_of, client_of; \
		home = Path(reasonir_home()); client_of(home); print(address_of(home))')"

bench-peers: $(PEERS_READY) ## create .venv-peers with sentence-transformers 6.2, for bench

$(PEERS_READY): requirements-peers.lock | $(READY)
	$(PYTHON) -m venv $(PEERS)
	$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python --requirement requirements-peers.lock
	@touch $(PEERS_READY)

bench: $(READY) $(PEERS_READY) ## time training steps of retrievers and rerankers against PyLate and sentence-transformers
	$(BENCH) peers=colbert_peers workload=even,scifact,medquad batch_size=64 model.head.document_length=512
	$(BENCH) peers=biencoder_peers workload=even,scifact,medquad batch_size=64 model/head=biencoder model.head.max_length=512
	$(BENCH) peers=cross_encoder_peers workload=even,scifact,medquad batch_size=16 model/head=cross_encoder
	$(BENCH) peers=yes_no_peers workload=even,scifact,medquad batch_size=16 model=tiny_reranker model.layers=6 model.hidden=384

GPU_BENCH = $(BENCH) hardware=auto hardware.precision=bf16-mixed model=random_qwen workload=medquad,scifact batch_size=64
GPU_COLBERT := peers=colbert_peers model.head.document_length=2048
GPU_BIENCODER := peers=biencoder_peers model/head=biencoder model.head.pooling=lasttoken model.head.max_length=2048

bench-gpu: $(READY) $(PEERS_READY) ## the same on a GPU at Qwen3-0.6B's size in bfloat16, and the largest batches in 15 GiB
	$(GPU_BENCH) $(GPU_COLBERT)
	$(GPU_BENCH) $(GPU_BIENCODER)
	$(GPU_BENCH) $(GPU_COLBERT) mode=max_batch memory_cap_gib=15
	$(GPU_BENCH) $(GPU_BIENCODER) mode=max_batch memory_cap_gib=15

PROOF := build/proof
INSTALL_WHEELS = $(PYTHON) -m pip install --quiet --no-index --no-deps --no-compile

proof: $(if $(WHEELHOUSE),$(PROOF)/.ready,$(READY)) ## try this machine, 25 minutes at most, report in docs/proof; PARTS=a,b WHEELHOUSE=folder
	HF_HUB_OFFLINE=1 $(if $(WHEELHOUSE),PYTHONPATH=$(CURDIR):$(CURDIR)/$(PROOF)/site:$$PYTHONPATH $(PYTHON),$(BIN)/python) -m reasonir.bench mode=proof \
		$(if $(WHEELHOUSE),peers_python=$(PROOF)/peers-python) $(if $(PARTS),'proof.parts=[$(PARTS)]')

$(PROOF)/.ready: $(wildcard $(WHEELHOUSE)/*.whl)
	rm -rf $(PROOF)
	$(INSTALL_WHEELS) --target $(PROOF)/site $(WHEELHOUSE)/*.whl
	$(INSTALL_WHEELS) --target $(PROOF)/peers $(WHEELHOUSE)/peers/*.whl
	printf '#!/bin/sh\nPYTHONPATH="%s:%s:$$PYTHONPATH" exec %s "$$@"\n' \
		$(CURDIR)/$(PROOF)/peers $(CURDIR)/$(PROOF)/site $(PYTHON) > $(PROOF)/peers-python
	chmod +x $(PROOF)/peers-python
	@touch $@

wheelhouse: $(READY) ## write the wheels for proof on a machine without a network: PYTHON_VERSION=3.12 PRESENT=freeze.txt
	$(BIN)/python tools/wheelhouse.py $(or $(WHEELHOUSE),wheelhouse) --python-version=$(or $(PYTHON_VERSION),3.12) \
		$(if $(PRESENT),--present=$(PRESENT))

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

lock: ## resolve pyproject.toml into requirements.lock and requirements-newest.lock, requirements-peers.in into its own
	$(COMPILE) --extra offline --extra sweep --extra dev --extra docs --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra offline --extra sweep --extra dev --upgrade --excludes requirements-newest.excludes \
		--output-file requirements-newest.lock pyproject.toml
	$(COMPILE) --output-file requirements-peers.lock requirements-peers.in

docs: $(READY) ## build the site into build/site, complete without a network; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean: ## remove the environment and what tools cached
	rm -rf $(VENV) $(NEWEST) $(PEERS) build/site .mypy_cache .ruff_cache .pytest_cache
