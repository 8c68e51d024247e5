# Every target first makes .venv (tools/install.sh), which is done once.
VENV ?= .venv
RUN := $(VENV)/bin/python
PYTHON ?= python3
LIGHT ?= .venv-light
GALLERY ?= output/gallery
export VENV PYTHON DETECTRON2
# Idle CPU threads sleep: on a busy machine, spinning ones slow training down up to ten times.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install search demo test test-slow lint benchmark clean fuzz soak

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "Settings: PYTHON=python3.11  GALLERY=output/gallery  VENV=.venv  DETECTRON2=<url, checkout or wheel>"

install: ## make .venv: pinned requirements, detectron2, this package
	@tools/install.sh

search: ## index PICTURES=folder with a ready model and open a page; needs no torch
	@[ -n "$(PICTURES)" ] || { echo "which pictures? make search PICTURES=folder"; exit 2; }
	@[ -x $(LIGHT)/bin/person-search ] || { $(PYTHON) -m venv $(LIGHT) && \
	    $(LIGHT)/bin/pip install --quiet -c requirements.txt -e '.[packs,serve]'; }
	@$(LIGHT)/bin/person-search index "$(PICTURES)" --gallery $(GALLERY)
	@$(LIGHT)/bin/person-search serve --gallery $(GALLERY)

demo: install ## draw Street, train STL + MRFP, evaluate, write a page of pictures (CPU, minutes)
	@$(RUN) tools/demo.py

test: install ## the tests, under 12 minutes on 2 cores; room by room, so that the C libraries of one do not meet those of another
	@status=0; for room in "$(wildcard tests/test_*.py)" $(filter-out tests/__pycache__/,$(wildcard tests/*/)); do \
		OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n 2 --dist loadfile $$room || status=1; \
	done; exit $$status

test-slow: install ## the tests that train for minutes
	@$(RUN) -m pytest -q -m slow

soak: install ## index and search 20,000 small pictures, and print how memory grows
	@$(RUN) tools/soak.py

fuzz: install ## mutated files for every reader, one minute (FUZZ=--seconds 600 for longer)
	@$(RUN) tools/fuzz.py $(FUZZ)

lint: install ## ruff, and mypy for the rooms named in pyproject.toml
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

benchmark: install ## speed and memory, as ratios against a reference in the same run
	@$(RUN) tools/benchmark.py evaluator

clean: ## remove .venv and caches; keeps output/ and datasets/
	rm -rf $(VENV) $(LIGHT) .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
