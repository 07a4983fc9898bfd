# make demo    train on the hypergrid, evaluate exactly, draw the picture
# make test    ruff, mypy, pytest and the documentation
# make docs    the documentation, in docs/_build/html
# make chaos   fuzz every environment for an hour or so and kill trainings, a new seed every day
#
# Each makes .venv first if it is missing, and installs anew when setup.cfg, pyproject.toml or
# constraints.txt has changed. Another Python:  make demo PYTHON=python3.12
#
# On Linux, PyPI's torch brings CUDA, several GB. With PIP_EXTRA_INDEX_URL set to PyTorch's index of
# CPU builds, pip takes the small one.

PYTHON ?= python3
DEMO_ARGS ?= train --agent munchausen --ndim 4 --height 20 --trajectories 30000 --out runs/demo \
  --overwrite

CHAOS_STEPS ?= 200000
CHAOS_KILLS ?= 40

PY := .venv/bin/python
PEERS_PY := .venv-peers/bin/python
RELEASE_PY := .venv-release/bin/python
PIP_INSTALL := -m pip --disable-pip-version-check install

.PHONY: help demo test chaos lint docs release peers libraries clean distclean

help:
	@echo "make demo       train on the hypergrid, about a minute"
	@echo "make test       ruff, mypy, pytest and the documentation"
	@echo "make chaos      fuzz every environment, millions of steps; kill trainings at random"
	@echo "make lint       ruff and mypy only"
	@echo "make docs       the documentation, in docs/_build/html"
	@echo "make release    sdist and wheel in dist/, checked and tried in an empty environment"
	@echo "make peers      .venv-peers, with the libraries that benchmarks compare against"
	@echo "make libraries  train with every library, each in an environment of its own"
	@echo "make clean      remove caches and build folders"
	@echo "make distclean  remove the virtual environments as well (runs/ always stays)"

demo: .venv/.installed
	$(PY) examples/hypergrid.py $(DEMO_ARGS)

# Two processes of one thread each: faster for networks this small, and the same numbers on every
# machine's core count.
test: lint docs
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

chaos: .venv/.installed
	OMP_NUM_THREADS=1 $(PY) tests/test_chaos.py $(CHAOS_STEPS) --seed $$(date +%Y%m%d)
	OMP_NUM_THREADS=1 $(PY) tests/kills.py $(CHAOS_KILLS) --seed $$(date +%Y%m%d)

# mypy twice, more leniently on scripts, which import agents/ by the name gfn_gym.agents: mypy does
# not find it under that name, so its types are Any there.
# It is left out where constraints.txt has another numpy, whose types differ.
lint: .venv/.installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@if $(PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'; then set -ex; \
	  $(PY) -m mypy gfn_gym agents; \
	  $(PY) -m mypy --allow-subclassing-any --allow-untyped-defs --allow-untyped-calls \
	    --no-check-untyped-defs tests examples benchmarks docs; \
	else echo "mypy is left out: it is run with Python 3.11 to 3.14"; fi

# Left out where Sphinx's newest release does not run.
docs: .venv/.installed
	@if $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then set -ex; \
	  OMP_NUM_THREADS=1 $(PY) docs/build_site.py; \
	else echo "the documentation is left out: it is built with Python 3.11 and newer"; fi

release:
	@$(call ensure_venv,.venv-release)
	$(RELEASE_PY) $(PIP_INSTALL) -c constraints.txt build twine
	rm -rf build dist
	$(RELEASE_PY) -m build --outdir dist .
	$(RELEASE_PY) -m twine check --strict dist/*
	$(RELEASE_PY) .ci/check_release.py

peers: .venv-peers/.installed

libraries:
	$(PYTHON) examples/libraries/run_all.py

.venv/.installed: setup.cfg pyproject.toml constraints.txt
	@$(call ensure_venv,.venv)
	$(PY) $(PIP_INSTALL) -c constraints.txt -e '.[all]'
	@touch $@

.venv-peers/.installed: benchmarks/peers.txt
	@$(call ensure_venv,.venv-peers)
	$(PEERS_PY) $(PIP_INSTALL) -r benchmarks/peers.txt
	@touch $@

clean:
	rm -rf build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find agents benchmarks examples gfn_gym tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-peers .venv-libraries .venv-release

# Asks for pip, not only for python, since an interrupted `python -m venv` leaves one without the
# other.
define ensure_venv
$(1)/bin/python -m pip --version > /dev/null 2>&1 || { \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' > /dev/null 2>&1 || { \
    echo "Python 3.10 or newer is needed, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
    echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; \
    exit 1; }; \
  $(PYTHON) -m venv $(1); }
endef
