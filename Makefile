# cs336lite: nothing is needed but Python 3.11 or newer; every target makes .venv when it is missing.

PYTHON ?= python3
JOBS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin

# an environment fits when its Python runs, is new enough, and is of the version asked for, if one is (make PYTHON=python3.13)
WANTED = $(if $(filter file,$(origin PYTHON)),sys.version_info[:2],$(shell $(PYTHON) -c 'import sys; print(sys.version_info[:2])'))
FITS = $(BIN)/python -c 'import pip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] == $(WANTED))' 2>/dev/null
ifneq ($(wildcard $(VENV)/ready),)
ifneq ($(shell $(FITS) && echo yes),yes)
.PHONY: $(VENV)/ready
endif
endif

.PHONY: lab study help demo test test-all types attacks attacks-sample sample sample-short build site bench bench-quick lock clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

lab: $(VENV)/ready  ## JupyterLab on the lectures and assignments, at the page that says what to do next
	@$(BIN)/cs336lite lab

# >>> not in the student edition
study: $(VENV)/ready  ## your own copy without answers, in my/, which git ignores: JupyterLab on it
	@test -f my/.cs336lite-edition || $(BIN)/cs336lite study
	@cd my && $(abspath $(BIN))/cs336lite lab

demo: $(VENV)/ready  ## a simulated class, from release to feedback, in demo/
	@$(BIN)/cs336lite demo

test: $(VENV)/ready  ## the tests, with a sample of the slow ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cs336lite build --check
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow"

test-all: $(VENV)/ready  ## every test
	$(BIN)/pytest -n $(JOBS) --dist worksteal

types: $(VENV)/ready  ## the types of what is written by hand, with mypy
	$(BIN)/python -m pip install --quiet --quiet -e '.[types]'
	$(BIN)/mypy

attacks: $(VENV)/ready  ## every attack, graded as root and not, with bubblewrap and without
	$(BIN)/python tests/attacks/modes.py -n $(JOBS) --dist worksteal tests/attacks

# the families that ask most of the jail, in the modes in which `make test` has not graded them
SHARP := no_landlock old_landlock escape secrets writing
attacks-sample: $(VENV)/ready  ## a sample of the attacks in the other modes
	$(BIN)/python tests/attacks/modes.py --other -q -n $(JOBS) --dist loadfile $(SHARP:%=tests/attacks/test_attack_%.py)

# what depends on the version of Python and on the machine: make sample VENV=.venv-3.12 PYTHON=python3.12
SHORT := tests/course/test_corpus.py tests/course/test_export.py tests/course/test_results.py tests/course/test_tools.py \
  tests/grading/test_stand_ins.py tests/repository/test_imports.py
SAMPLE := $(SHORT) tests/grading/test_jail.py tests/grading/test_pools.py tests/grading/test_worker.py \
  'tests/lectures/test_lectures.py::test_every_lecture_runs_on_the_students_own_code[06_moe]'

sample: TESTS = $(SAMPLE)
sample: RUN = 01 02
sample: sample-short  ## a sample of the tests, and lectures 01 and 02 run and compared with what is kept

TESTS = $(SHORT)
RUN = 01
sample-short: $(VENV)/ready  ## the same with fewer tests, and lecture 01 alone
	$(BIN)/cs336lite build --check
	$(BIN)/cs336lite build --check --execute $(RUN)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow" $(TESTS)

build: $(VENV)/ready  ## texts to notebooks to modules
	$(BIN)/cs336lite build
	$(BIN)/python -m cs336lite.course.map
	$(BIN)/python docs/architecture.py

site: $(VENV)/ready  ## the course as web pages, in build/site
	$(BIN)/python -m pip install --quiet --quiet -e '.[site]'
	$(BIN)/python site/make.py

bench: $(VENV)/ready  ## ours and its peers, in turn, as ratios with their targets; about half an hour
	$(BIN)/python -m pip install --quiet --quiet -e '.[bench]'
	$(BIN)/python benchmarks/all.py

bench-quick: $(VENV)/ready  ## the same with fewer rounds: the ratios of a few minutes, which differ from run to run
	$(BIN)/python -m pip install --quiet --quiet -e '.[bench]'
	$(BIN)/python benchmarks/all.py --quick
# <<< not in the student edition

# torch goes first, with the CUDA packages that it pins itself; all others stand in the lock, so nothing is to be resolved
$(VENV)/ready: requirements.lock pyproject.toml
	@$(FITS) || $(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"cs336lite needs Python 3.11 or newer, and $(PYTHON) is {v[0]}.{v[1]}: run make PYTHON=python3.11 ...")'
	@$(FITS) || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -e .
	@touch $@

# >>> not in the student edition
# torch pins its CUDA packages itself, so the lock leaves them out and stays the same on every platform; what only the
# tests need stands in a part of its own, which no student edition has
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate
lock:  ## new versions into requirements.lock and environment.yml (needs uv)
	$(COMPILE) --extra test --upgrade pyproject.toml | grep -vE '^(nvidia-|cuda-)' > requirements.lock.full
	$(COMPILE) --constraint requirements.lock.full pyproject.toml > requirements.lock.light
	$(BIN)/python tests/repository/environment.py requirements.lock.full requirements.lock.light > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm requirements.lock.full requirements.lock.light
	$(BIN)/python tests/repository/environment.py > environment.yml.new
	mv environment.yml.new environment.yml

# <<< not in the student edition

clean:  ## remove what can be made again (never your work in assignments/)
	rm -rf .venv .venv-* build demo .pytest_cache .ruff_cache .hypothesis
