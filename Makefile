# Each target makes its own virtual environment first: Python 3.11 or later with pip is all it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTERS := hypothesis pytest pytest-asyncio pytest-xdist
LANGCHAIN_TESTS := meter feedback executor several budgeted decorator chain_shapes tuned recorder
LANGGRAPH_TESTS := langgraph_nodes langgraph_once wanting grading_node agent_facts agents seeing
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test coverage test-floors lint bench docs clean

demo: $(VENV)/.ready
	$(BIN)/budget-router demo --out demo

# each of the two workers has a core and one half of the tests, and who is done first helps the other; what they import is
# compiled once, for all processes that tests start
test: export OPENBLAS_NUM_THREADS := 1
test: export PYTHONDONTWRITEBYTECODE :=
test: lint $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

# the same, watched line by line, takes half as long again
coverage: export OPENBLAS_NUM_THREADS := 1
coverage: $(VENV)/.ready-dev
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered -n 2

# the oldest frameworks that pyproject.toml admits: LangChain's core alone, and LangGraph with its agents
test-floors: $(VENV)/floors/langchain/.ready $(VENV)/floors/langgraph/.ready
	$(VENV)/floors/langchain/bin/python -m pytest -n 2 $(addprefix tests/test_,$(addsuffix .py,$(LANGCHAIN_TESTS)))
	$(VENV)/floors/langgraph/bin/python -m pytest -n 2 $(addprefix tests/test_,$(addsuffix .py,$(LANGGRAPH_TESTS)))

lint: export MYPY_NUM_WORKERS ?= 2
lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks.decide
	$(BIN)/python -m benchmarks.demo

# read docs/ in a browser: build/site/index.html, or with its search by python -m http.server --directory build/site
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/docs/.ready
	$(VENV)/docs/bin/mkdocs build --quiet --config-file docs/site/mkdocs.yml

clean:
	rm -rf $(VENV) demo build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.ready: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(VENV)/.ready-dev: pyproject.toml | $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

# nothing of ours is installed: the reference is read off the sources
$(VENV)/docs/.ready: pyproject.toml | $(BIN)/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --group docs
	@touch $@

$(VENV)/floors/langchain/.ready: EXTRAS := langchain,sql,tokens
$(VENV)/floors/langchain/.ready: PINS := langchain-core==1.0.0
$(VENV)/floors/langgraph/.ready: EXTRAS := agents,sql,tokens
$(VENV)/floors/langgraph/.ready: PINS := langgraph==1.1.10 langchain==1.2.12 langgraph-checkpoint-sqlite aiosqlite
$(VENV)/floors/%/.ready: pyproject.toml | $(BIN)/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]' $(PINS) $(TESTERS)
	@touch $@
