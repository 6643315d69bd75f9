# One line of help per target: `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
BENCH ?= ../shared/bench

.PHONY: help install demo test mcp format lint types bench build picture clean

help: ## Show the targets.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "rag2_memory needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## Create the environment in .venv.

demo: install ## Ingest the example corpus, answer questions, compare with naive retrieval.
	$(BIN)/rag2 demo

test: install ## Run the test suite.
	$(BIN)/python -m pytest

MCP2 := $(VENV)/mcp2
mcp: install ## Run the MCP tests under the SDK's second major; the suite runs them under the first.
	$(BIN)/python -m venv $(MCP2)
	$(MCP2)/bin/python -m pip install --quiet --no-deps 'mcp>=2,<3' mcp-types httpcore2
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(MCP2)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
	$(MCP2)/bin/python -m pytest tests/integrations/test_mcp.py tests/integrations/test_mcp_http.py tests/integrations/test_mcp_resources.py tests/cli/test_mcp_command.py

format: install ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install ## Check format, style and the direction of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: install ## Check types, strictly.
	$(BIN)/mypy

bench: install ## Measure; BENCH=folder names the evaluation data. Slow.
	$(BIN)/python -m tests.benchmarks.run --data '$(BENCH)'

build: install ## Build wheel and sdist into dist/.
	$(BIN)/python -m build --outdir dist .

picture: install ## Draw the recall graph anew in the README.
	$(BIN)/python -m tests.picture --write

clean: ## Remove the environment and everything built.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo
