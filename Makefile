# Sets up .venv and runs Evenhand: the first call installs, the next ones start at once.
#
#   make demo    install what the app needs, and draft four compromises for a bundled dispute
#   make app     the same, and open the app in the browser
#   make test    install everything, then ruff, mypy and pytest
#   make lint    ruff and mypy only
#   make wheel   build the wheel into dist/
#   make clean   remove what was built; .venv stays (remove it by hand to start afresh)
#
# PYTHON=python3.12 chooses the interpreter (3.11 or later) that .venv is made with.
# Tests that drive the page need Chromium and are skipped, with a reason, where there is none; to get it:
#   apt-get install chromium    or    .venv/bin/playwright install --with-deps chromium
# With Debian's chromium-headless-shell beside it they take half the work.

VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/install.log
DEMO := library-hours
comma := ,

find_python = for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$name && break; done
PYTHON ?= $(shell $(find_python))

# llama-cpp-python comes as source and takes minutes to build. Its library for images is not needed here.
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Run a command of the installation with its output in the log; if it fails, say so and show the end of the log.
quietly = { $(1) >>$(LOG) 2>&1 || { \
	echo "The installation failed ($(2)); the last lines of $(LOG) say why:" >&2; tail -n 15 $(LOG) >&2; exit 1; }; }

.PHONY: demo app test lint wheel clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.base
	@$(BIN)/evenhand propose $(DEMO)

app: $(VENV)/.base
	@$(BIN)/evenhand ui

test: lint
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.everything
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

wheel: $(VENV)/.made
	@rm -rf build
	@$(call quietly,$(BIN)/pip wheel --no-deps --wheel-dir dist .,the wheel)
	@rm -rf build
	@ls dist/*.whl

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find mediator trainer ui tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The three stages of .venv. Each stamp is made last, so that an interrupted installation is taken up again.

$(VENV)/.made:
	@test -n "$(PYTHON)" || { \
		echo "Evenhand needs Python 3.11 or later: install it, or name it with make PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Evenhand needs Python 3.11 or later, and $(PYTHON) is not: name another with make PYTHON=/path/to/python3." >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null || { \
		echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv." >&2; exit 1; }
	@touch $@

$(VENV)/.base: $(VENV)/.made pyproject.toml
	@$(BIN)/python -c 'import llama_cpp' 2>/dev/null || { \
		for compiler in "$$CXX" c++ g++ clang++; do \
			test -n "$$compiler" && $$compiler --version >/dev/null 2>&1 && exit 0; done; \
		echo "A C++ compiler is needed once, to build llama.cpp: apt-get install g++ (Debian, Ubuntu)," \
			"dnf install gcc-c++ (Fedora), xcode-select --install (macOS); then call make again." >&2; exit 1; }
	@echo "Installing Evenhand into $(VENV); the first time this builds llama.cpp and takes some minutes..." >&2
	@$(call quietly,$(BIN)/pip install --editable .,the packages of the app)
	@touch $@

# torch first and by its narrow range: a plain `torch` may bring gigabytes of CUDA libraries of another version.
$(VENV)/.everything: $(VENV)/.base
	@echo "Installing what the tests and the trainer need..." >&2
	@$(call quietly,$(BIN)/pip install 'torch~=2.13.0',torch)
	@$(call quietly,$(BIN)/pip install --editable '.[hf$(comma)train$(comma)dev]',the packages of the tests and the trainer)
	@touch $@
