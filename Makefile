# make demo: the whole loop on a small world of film reviews.  make test: all tests.  Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.assent-ready

.PHONY: demo test sentiment setup check

demo: setup
	$(BIN)/assent run recipes/quickstart.yaml
	@echo "Report: runs/quickstart/report.html"

test: setup check
	sh scripts/install-chromium.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m "not slow" -n 2 -q --durations=15
	$(BIN)/python -m benchmarks.mutants
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m slow -n 2 --dist loadfile --no-loadscope-reorder -q --durations=0

check: setup
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/pyright
	$(BIN)/lint-imports

SST2 := ../shared/data/sst2/glue
POLICY := ../shared/models/reviews-6m
sentiment: setup
	@test -d $(SST2) && test -d $(POLICY) || { echo "make sentiment needs $(SST2) (GLUE's SST-2: train.tsv, dev.tsv) and the language model $(POLICY); to use the hub's instead: $(BIN)/assent run recipes/sentiment.yaml"; exit 2; }
	$(BIN)/assent run recipes/sentiment.yaml \
	  --set sst2.data=$(SST2)/train.tsv --set sst2.dev=$(SST2)/dev.tsv \
	  --set sft.model=$(POLICY) --set judge.model=$(POLICY) \
	  --set sft.add_bos=true --set judge.add_bos=true

setup: $(STAMP)

# torch first and by itself: the pinned version's CPU build is taken where there is one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "assent needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)
