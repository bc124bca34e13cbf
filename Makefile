# make demo: from a bare checkout to a compared sweep.  make test: the quick suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo install test test-slow lint check audit-deps docs docs-serve bench bench-gpu chaos clean

demo: install
	$(BIN)/python train.py -m strategy=freeze,partial,full

install: $(STAMP)

# uv resolves faster where it is at hand; pip does the same work.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { \
		$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" \
			|| { echo "$(PYTHON) is not Python 3.11 to 3.13. Name one: make demo PYTHON=python3.12"; exit 2; }; \
		$(PYTHON) -m venv $(VENV); }
	@echo "Installing into $(VENV): minutes, and some 7 GB, of which PyTorch and its GPU libraries are most ..."
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -q

test-slow: install
	$(BIN)/python -m pytest -n 2 --dist load -q -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

check: lint test test-slow

# Known vulnerabilities of what is installed; says so where the database cannot be reached.
audit-deps: install
	$(BIN)/python scripts/audit_deps.py

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

docs-serve: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --watch conf --watch src/thawlab/schema.py

# About 40 minutes on two idle cores. fastai and finetuning-scheduler go into .bench-venv, an environment of their own.
bench: install
	$(BIN)/python -m bench --peers

bench-gpu: install
	$(BIN)/python -m bench --peers --device cuda

# About an hour and a half on two idle cores: 200 kills, 12,000 flipped bits, a sweep whose driver is killed.
chaos: install
	$(BIN)/python -m chaos

clean:
	rm -rf $(VENV) dist build site
