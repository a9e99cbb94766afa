# Everything happens in a virtual environment in this folder.
#
#   make demo                    build, install, and run examples/introduction.py
#   make test                    run all tests: Rust's, ours in Python, and Twisted's own of Deferreds
#   make compare-twisted         run Twisted's whole test suite, on Twisted and on deferrous
#   make compare                 the same for Scrapy, treq, Klein and Synapse
#   make compare PROGRAMS="buildbot foolscap"    for other programs: python -m tests.compare --list
#   make lint                    run rustfmt, clippy and ruff
#   make bench                   measure the main rows of docs/performance.md (BENCH_ARGS=--quick)
#   make bench BENCH_ARGS=--all  measure all rows
#   make bench BENCH_ARGS='threads --than PYTHON'    compare a Python without the GIL with that one
#   make bench-programs          measure whole programs, for docs/twisted.md
#   make instructions            compare the instructions of each operation with the record
#   make instructions RECORD=1   make a new record
#   make publish                 write the latest measurements into the pages
#   make docs                    build the documentation as a site in target/docs
#   make release-check           build everything twice, compare, and check it for a release
#   make mutants                 find changes of the core that no test notices; an hour or more
#   make proofs                  run the short form of docs/proofs.md; some minutes
#
#   make PYTHON=python3.13 ...   use another Python; VENV=folder for another environment
#   make PGO=1 ...               use a wheel made with the profile of benchmarks/training.py, like
#                                a release's: for build, install, test, bench and all others
#   make QUICK=1 ...             use a wheel that takes less time to build, and is slower
#   make CHECKED=1 ...           use a wheel that checks itself while it runs
#   make SANITIZED=1 ...         use a wheel for AddressSanitizer; its runtime must be preloaded into
#                                Python
#   make PIP_OF=python3.13 ...   use the pip of another Python, for a Python without ensurepip
#   make test-python PYTEST_ARGS='-k failure'     run some tests (-n0: in one process, for --pdb)
#   make test-version            run the tests that depend on the version of Python

PYTHON ?= python3
VENV ?= .venv
CARGO ?= cargo
PYTEST_ARGS ?=
BENCH_ARGS ?=
RECORD ?=
PGO ?=
QUICK ?=
CHECKED ?=
SANITIZED ?=
MINUTES ?= 1
SECONDS ?= 60
PIP_OF ?= python3
PROGRAMS ?= scrapy treq klein synapse
COMPARE_ARGS ?=

# What keeps a step from being done twice: a file for each, in the environment that it
# was done in, and gone with it. The first has the Python in its name.
PY := $(VENV)/bin/python
IDENTIFY := 'import sys; print(sys.implementation.cache_tag)'
PYTHON_ID := $(shell $(PYTHON) -c $(IDENTIFY) 2>/dev/null)
MADE := $(VENV)/.made-with-$(PYTHON_ID)
# There can be a wheel of each kind; installed is one of them.
KIND := $(or $(if $(PGO),profile-guided),$(if $(CHECKED),checked),$(if $(SANITIZED),sanitized),\
  $(if $(QUICK),quick),plain)
LOOK_FIRST := sh tools/look_first.sh
WHEELS := $(VENV)/$(KIND)-wheel
WHEEL := $(VENV)/.$(KIND)-wheel-is-built
INSTALLED := $(VENV)/.$(KIND)-package-is-installed
TESTABLE := $(VENV)/.test-extra-is-installed
VERSION_TESTABLE := $(VENV)/.test-version-extra-is-installed
LINTABLE := $(VENV)/.dev-extra-is-installed
BENCHABLE := $(VENV)/.bench-extra-is-installed
RELEASABLE := $(VENV)/.release-extra-is-installed
DOCUMENTABLE := $(VENV)/.docs-extra-is-installed
# What is run where each step takes longer.
CORE_TESTS := bad_input cancel_and_timeout chaining collections copying coroutines debug deferred \
  deferred_class deferred_state failure failure_state failure_texts functions generator_cancelling \
  generator_contexts generator_errors generators hostile_values limits mixing reentrance return_value \
  unhandled unhandled_logging
CORE_TEST_FILES := $(CORE_TESTS:%=tests/test_%.py)

# What a wheel is made of.
SOURCES := Cargo.toml pyproject.toml README.md LICENSE THIRD-PARTY-LICENSES.txt \
  $(wildcard Cargo.lock rust-toolchain.toml build.rs .cargo/config.toml) \
  $(shell find src python -type d -name __pycache__ -prune -o \( -type d -o -type f \) \
    ! -name '*.so' ! -name '*.pyd' -print)

.PHONY: help demo test test-core test-python test-version compare compare-twisted build install lint bench \
  bench-programs test-bench instructions publish docs release-check clean proofs \
  proof-memory proof-memory-short proof-threads proof-free-threads proof-parallel proof-orders proof-races proof-edges proof-checked proof-references proof-sanitized \
  proof-valgrind fuzz-core fuzz-python mutants
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(INSTALLED)
	$(PY) examples/introduction.py

# Python is looked for before Rust's tests are run, too.
test: $(MADE) test-core test-python

test-core:
	@$(LOOK_FIRST) "" "" "$(CARGO)"
	$(CARGO) test --no-default-features

# In a process for each processor, within reason: some tests take a gigabyte or two.
PYTEST := $(PY) -m pytest -n auto --maxprocesses=8 --dist=worksteal

test-python: $(TESTABLE)
	$(PYTEST) $(PYTEST_ARGS)

test-version: $(VERSION_TESTABLE)
	$(PYTEST) -m 'not same_everywhere' $(PYTEST_ARGS)

# Each program is in an environment of its own in target/compare, with the wheel made here.
compare: $(WHEEL)
	$(PY) -m tests.compare --wheel $(WHEELS)/*.whl $(COMPARE_ARGS) $(PROGRAMS)

compare-twisted: $(WHEEL)
	$(PY) -m tests.compare --wheel $(WHEELS)/*.whl $(COMPARE_ARGS) twisted

build: $(WHEEL)

install: $(INSTALLED)

# What this Makefile made with another Python, or did not get to the end of, it makes
# anew. An environment that somebody else made with another Python it leaves alone.
$(MADE):
	@$(LOOK_FIRST) "$(PYTHON)" "$(PIP_OF)" "$(CARGO)"
	@rm -f $(VENV)/.*-is-built $(VENV)/.*-is-installed
	@there=$$($(PY) -c $(IDENTIFY) 2>/dev/null); clear=--clear; \
	if [ "$$there" = "$(PYTHON_ID)" ]; then clear=; \
	elif [ -n "$$there" ] && [ -z "$(wildcard $(VENV)/.made-with-*)" ]; then \
	  echo "$(VENV) was made by hand with $$there: remove it, or say make VENV=folder" >&2; \
	  exit 1; fi; \
	pip=; $(PYTHON) -c 'import ensurepip' 2>/dev/null || pip=--without-pip; \
	set -ex; $(PYTHON) -m venv $$pip $$clear "$(VENV)"; \
	if [ -n "$$pip" ]; then \
	  $(PIP_OF) -m venv "$(VENV)/pip"; \
	  "$(VENV)/pip/bin/python" -m pip install --quiet --upgrade pip; \
	  "$(VENV)/pip/bin/python" -m pip --python "$(PY)" install --quiet pip; \
	  rm -r "$(VENV)/pip"; \
	else $(PY) -m pip install --quiet --upgrade pip; fi
	@rm -f $(VENV)/.made-with-*
	@touch $@

# For the target named, so that what runs at build time is not watched. It is a part of the compiler
# that is not stable; a compiler that is can be asked for it all the same.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
SANITIZING = RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address

# pip has maturin build it; cargo keeps what it compiled in target/ for the next time.
# With a profile it does so twice, and runs what benchmarks/training.py has in between.
$(WHEEL): $(MADE) $(SOURCES) $(if $(PGO),benchmarks/training.py benchmarks/rows.py)
	@$(LOOK_FIRST) "" "" "$(CARGO)"
	rm -rf $(WHEELS)
	$(if $(PGO),MATURIN_PGO=1) $(if $(SANITIZED),$(SANITIZING)) \
	  $(if $(CHECKED)$(SANITIZED)$(QUICK),MATURIN_PEP517_ARGS='--profile $(KIND) $(if $(SANITIZED),--target $(HOST))') \
	  $(PY) -m pip wheel --no-deps --wheel-dir $(WHEELS) .
	@touch $@

$(INSTALLED): $(WHEEL)
	@rm -f $(VENV)/.*-package-is-installed
	$(PY) -m pip install --quiet --no-deps --force-reinstall $(WHEELS)/*.whl
	@touch $@

$(TESTABLE): $(INSTALLED)
	$(PY) -m pip install --quiet "$$(echo $(WHEELS)/*.whl)[test]"
	@touch $@

$(VERSION_TESTABLE): $(INSTALLED)
	$(PY) -m pip install --quiet "$$(echo $(WHEELS)/*.whl)[test-version]"
	@touch $@

$(LINTABLE): $(INSTALLED)
	$(PY) -m pip install --quiet "$$(echo $(WHEELS)/*.whl)[dev]"
	@touch $@

$(BENCHABLE): $(INSTALLED)
	$(PY) -m pip install --quiet "$$(echo $(WHEELS)/*.whl)[bench]"
	@touch $@

$(DOCUMENTABLE): $(INSTALLED)
	$(PY) -m pip install --quiet "$$(echo $(WHEELS)/*.whl)[docs]"
	@touch $@

$(RELEASABLE): $(INSTALLED)
	@$(PY) -m pip install --quiet "$$(echo $(WHEELS)/*.whl)[release]"
	@touch $@

DENIED := -D warnings -D clippy::undocumented_unsafe_blocks

lint: $(LINTABLE)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --no-default-features -- $(DENIED)
	PYO3_PYTHON="$(abspath $(PY))" $(CARGO) clippy --all-targets --all-features -- $(DENIED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# `make bench BENCH_ARGS=growth`, `... allocations` and `... concurrency` measure those. What is measured is in
# target/bench, in a folder for each Python and kind of wheel, such as `python3.11-plain`.
bench: $(BENCHABLE)
	$(PY) -m benchmarks $(BENCH_ARGS)

bench-programs: $(BENCHABLE)
	$(PY) -m benchmarks.programs --wheel $(WHEELS)/*.whl $(BENCH_ARGS)

test-bench: $(BENCHABLE)
	$(PY) -m pytest benchmarks --benchmark-disable

instructions: $(BENCHABLE)
	$(PY) -m benchmarks instructions $(if $(RECORD),--record)

publish: $(BENCHABLE)
	$(PY) -m benchmarks publish

# Warnings are errors. Nothing is fetched.
docs: $(DOCUMENTABLE)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo "target/docs/index.html"

# Whether a release could be made: tools/release_check.py. It builds twice, from nothing.
release-check: $(RELEASABLE)
	$(PY) tools/release_check.py $(if $(QUICK),--profile quick)

# What each of these proves, and its long form, is in docs/proofs.md.
proofs: proof-memory proof-threads proof-edges
	$(MAKE) proof-checked VENV=$(VENV)-checked

proof-memory: $(TESTABLE)
	$(PY) -m tests.proofs.memory --minutes $(MINUTES)

# One allocation that fails, in programs that have run before, each sweep begun within 45 seconds.
# What ends badly is compared with Twisted after that.
proof-memory-short: $(VERSION_TESTABLE)
	$(PY) -m tests.proofs.memory --warm --mode one --mode native-one --mode native-all --minutes 0.75

proof-threads: $(TESTABLE)
	$(PY) -m tests.proofs.threads --minutes $(MINUTES)

# The next two with PYTHON=python3.14t, or another that can do without the GIL. The tests of the second hold
# nothing that is the process's: pytest-run-parallel has four threads run each test at the same time.
PARALLEL_TESTED := deferred chaining generators coroutines generator_contexts return_value first_error collections \
  concurrency_locks hand_over concurrency concurrency_groups concurrency_closed native_callbacks concurrency_keys
PARALLEL_TESTS := $(PARALLEL_TESTED:%=tests/test_%.py)
SHARED_FIXTURES := reports debugging monkeypatch
proof-free-threads: $(INSTALLED)
	PYTHON_GIL=0 $(PY) -m tests.proofs.free_threads $(SECONDS)

proof-parallel: $(VERSION_TESTABLE)
	$(PY) -m pip install --quiet 'pytest-run-parallel>=0.10,<1'
	PYTHON_GIL=0 $(PY) -m pytest -p no:xdist --parallel-threads=4 \
	  -o thread_unsafe_fixtures="$(SHARED_FIXTURES)" $(or $(PYTEST_ARGS),$(PARALLEL_TESTS))

# All orders of what two and three threads do with a chain and its lock.
proof-orders:
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
	  $(CARGO) test --no-default-features --release --test core_loom

# Under ThreadSanitizer.
proof-races:
	TSAN_OPTIONS="suppressions=$(abspath tests/proofs/races.supp)" RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
	  CARGO_TARGET_DIR=target/races \
	  $(CARGO) test --no-default-features --target $(HOST) --test core_races

proof-edges: $(TESTABLE)
	$(PY) -m tests.proofs.edges --times 2

# The tests of the core are run with all checks by `make test-core`.
proof-checked:
	$(MAKE) test-python CHECKED=1 PYTEST_ARGS="$(or $(PYTEST_ARGS),$(CORE_TEST_FILES))"

# Each with a build of its own, for a CPython or by a compiler that not every machine has.
DEBUG_PYTHON ?= python3.11d
proof-references:
	$(MAKE) references-of-debug-build PYTHON=$(DEBUG_PYTHON) VENV=$(VENV)-debug

.PHONY: references-of-debug-build
references-of-debug-build: $(INSTALLED)
	$(PY) -m tests.proofs.references

# Python is not watched itself, but asks for its memory where it is. What it never frees is no leak.
ASAN_RUNTIME ?= $(shell gcc -print-file-name=libasan.so)
WATCHED = LD_PRELOAD=$(realpath $(ASAN_RUNTIME)) PYTHONMALLOC=malloc ASAN_OPTIONS=$(ASAN_OPTIONS)
ASAN_OPTIONS := detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1
proof-sanitized:
	ASAN_OPTIONS=$(ASAN_OPTIONS) $(SANITIZING) $(CARGO) test --no-default-features --tests --target $(HOST)
	$(MAKE) sanitized-binding SANITIZED=1 VENV=$(VENV)-sanitized

.PHONY: sanitized-binding
sanitized-binding: $(TESTABLE)
	$(WATCHED) $(PY) -m tests.proofs.programs
	$(WATCHED) $(PY) -m pytest $(or $(PYTEST_ARGS),$(CORE_TEST_FILES))

# Where the compiler has no sanitizer. Some twenty times slower than without.
SUPPRESSIONS ?= $(wildcard /usr/lib/valgrind/python3.supp) tests/proofs/valgrind.supp
proof-valgrind: $(TESTABLE)
	PYTHONMALLOC=malloc valgrind --quiet --error-exitcode=9 $(addprefix --suppressions=,$(SUPPRESSIONS)) \
	  $(PY) -m tests.proofs.programs

# cargo-mutants changes one thing at a time in a copy of the source, and runs the core's tests on that. It is
# taken from where cargo finds it, or is built once into target/tools. The tests with a million
# Deferreds are left out, for their time, and so is a function that only the binding has: tests/test_memory.py
# sees what that says. A change may take five times as long as the tests do without one, however long that is
# on a machine with other work. CARGO_MUTANTS_ARGS='--shard 1/8' is an eighth of it.
CARGO_MUTANTS_ARGS ?=
TOOLS := $(abspath target/tools)
CORE_TEST_TARGETS := $(patsubst tests/%.rs,--test %,$(wildcard tests/core_*.rs))
mutants:
	PATH="$(TOOLS)/bin:$$PATH" $(CARGO) mutants --version || \
	  $(CARGO) install --quiet --locked --version 27.1.0 --root $(TOOLS) cargo-mutants
	PATH="$(TOOLS)/bin:$$PATH" CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 \
	  $(CARGO) mutants --file 'src/core/**' --exclude-re is_refusable --no-default-features --output target \
	  --minimum-test-timeout 60 --timeout-multiplier 5 \
	  $(CARGO_MUTANTS_ARGS) -- --lib $(CORE_TEST_TARGETS) -- --skip a_million

fuzz-core:
	ASAN_OPTIONS=detect_leaks=0 RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run chain -- -detect_leaks=0 -max_total_time=$$(($(MINUTES) * 60))

fuzz-python: $(TESTABLE)
	$(PY) -m pip install --quiet atheris
	$(PY) -m tests.proofs.fuzz -max_total_time=$$(($(MINUTES) * 60))

clean:
	rm -rf "$(VENV)" target dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
