# make demo: install and run the main job · make test: install and test · make docs · make lint · make bench
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test docs lint bench install clean

demo: install
	$(BIN)/ami run

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

docs: install
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open site/index.html"

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install
	for name in rendering tabletop_frames loop placements planner_speed tracing trace_kills faults two_rooms anti_collapse; do $(BIN)/python benchmarks/$$name.py || echo "$$name: a target was missed"; done

install: $(VENV)/.installed

# constraints.txt pins the versions everything was tested with; torch's CPU build is enough
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "ami needs Python 3.11, 3.12 or 3.13, not " + sys.version.split()[0] + ". Fix: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs site
