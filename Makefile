# Development of criproxy. Everything here needs git, make and python3; `make help` lists the targets.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Most tests wait more than they work. Each worker has its share in a row, so that tests of one module find what they
# share; the unit tests, which are short, even out the end.
WORKERS ?= $(shell expr 2 \* $$(nproc))
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
TESTS := tests/fuzz tests/system tests/unit

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

# What ruff reads, what mypy reads, and, apart, what it reads whose files have the names of others.
PYTHON_CODE := criproxy tests setup.py debian/nodeps/assemble
TYPED := criproxy setup.py debian/nodeps/assemble tests/conftest.py $(addprefix tests/,bench containerd deb fuzz kubelet node torture unit)
TYPED_APART := tests/system
SHELL_CODE = $(shell git grep -lE '^#!/bin/(ba)?sh' -- ':!*.py' ':!*.md')

$(VENV)/ready: setup.py .ci/venv .ci/constraints.txt
	.ci/venv $(PYTHON) $(VENV)
	touch $@

.PHONY: venv
venv: $(VENV)/ready ## set up the virtual environment

.PHONY: run
run: venv ## the proxy before two runtimes in memory; ONCE=1: show and end; CONNECT=PATH,ID:PATH: before real ones
	@$(BIN)/python -m criproxy demo $(if $(ONCE),--once) $(if $(CONNECT),--connect '$(CONNECT)')

.PHONY: check
check: venv ## ruff, mypy and shellcheck
	$(BIN)/ruff check --config .ci/ruff.toml $(PYTHON_CODE)
	$(BIN)/ruff format --check --config .ci/ruff.toml $(PYTHON_CODE)
	$(BIN)/mypy --config-file .ci/mypy.ini $(TYPED)
	$(BIN)/mypy --config-file .ci/mypy.ini $(TYPED_APART)
	$(BIN)/shellcheck --exclude SC1091 $(SHELL_CODE)

.PHONY: test
test: check ## everything that needs no root
	$(PYTEST) $(TESTS)

.PHONY: coverage
coverage: venv ## the same with branch coverage, the processes that the tests start included; it may not fall below .ci/coverage.ini
	$(PYTEST) --cov --cov-config=.ci/coverage.ini --cov-report=term:skip-covered $(TESTS)

$(VENV)/fuzz: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt -e '.[fuzz]'
	touch $@

.PHONY: fuzz
fuzz: $(VENV)/fuzz ## new inputs for the fuzz targets, then new seeds for the property tests, until one fails; FOR=SECONDS for all (600); SEED=N: that one, once; TARGET=NAME INPUT=FILE: so
	.ci/fuzz $(BIN)/python $(if $(INPUT),input $(TARGET) $(INPUT),$(if $(SEED),seed $(SEED),for $(or $(FOR),600) $(TARGET)))

.PHONY: torture
torture: venv ## attacks and faults under load, each answer checked; FOR=SECONDS: all of them in about that (900); STRICT=1: bars of time count; ROWS='…'
	$(BIN)/python -m tests.torture $(if $(FOR),--for $(FOR)) $(if $(STRICT),--strict) $(ROWS)

.PHONY: soak
soak: venv ## N calls of a kubelet (1000000) while a runtime restarts, and what criproxy holds at the end
	$(BIN)/python -m tests.torture.soak $(N)

.PHONY: test-containerd
test-containerd: venv ## the life of a pod on two real containerd instances (root)
	@test "$$(id -u)" = 0 || { echo "make test-containerd needs root: it starts containers" >&2; exit 1; }
	.ci/apt containerd runc containernetworking-plugins busybox-static
	$(BIN)/python -m pytest tests/containerd

.PHONY: test-deb
test-deb: venv deb ## the Debian packages: what is in them, on nothing but a kernel, and that a second build is the same
	.ci/apt man-db strace zsh
	$(PYTEST) tests/deb

.PHONY: test-node
test-node: venv deb ## the packages on booted nodes: Debian 11 to 14, as kubeadm, kubeadm-dind-cluster, kind, kubespray and others lay them out (root)
	@test "$$(id -u)" = 0 || { echo "make test-node needs root: it boots nodes" >&2; exit 1; }
	.ci/apt debootstrap debian-archive-keyring
	$(BIN)/python -m tests.node.roots
	$(BIN)/python -m pytest -n $(WORKERS) tests/node

.PHONY: test-kubelet
test-kubelet: venv deb ## a real kubelet on the package, with a pod on each of two runtimes (root; builds Kubernetes 1.20 once)
	@test "$$(id -u)" = 0 || { echo "make test-kubelet needs root: it boots nodes" >&2; exit 1; }
	.ci/apt debootstrap debian-archive-keyring
	$(BIN)/python -m tests.kubelet
	$(BIN)/python -m pytest tests/kubelet

.PHONY: bench
bench: venv ## compare speed and size with what else there is (root: installs it); BENCH=--help: a smoke run, another build of criproxy's (BENCH="--criproxy '…'": compiled, installed), a plot, two runs compared
	tests/bench/install
	$(BIN)/python -m tests.bench $(BENCH)

# The C compiler for the other architecture that criproxy-nodeps is for.
CROSS_amd64 := gcc-aarch64-linux-gnu libc6-dev-arm64-cross
CROSS_arm64 := gcc-x86-64-linux-gnu libc6-dev-amd64-cross

.PHONY: deps
deps: ## install what `make deb` needs (root)
	.ci/apt build-essential debhelper debian-archive-keyring dh-python lintian patchelf \
	  python3-all python3-pip python3-setuptools python3-stdeb qemu-user-static $(CROSS_$(shell dpkg --print-architecture))

PACKAGED = $(shell find criproxy debian etc lib -not -type d -not -name '*.pyc') setup.py README.md LICENSE .ci/deb .ci/mypy.ini

.PHONY: always
# It is younger than what has been added or removed. (So is a folder, but that is younger than byte code in it, too.)
build/packaged: always
	@mkdir -p build
	@printf '%s\n' $(sort $(PACKAGED)) | cmp -s - $@ || printf '%s\n' $(sort $(PACKAGED)) > $@

build/deb/ready: build/packaged $(PACKAGED)
	$(MAKE) deps
	.ci/deb
	touch $@

.PHONY: deb
deb: build/deb/ready ## build the Debian packages, for amd64 and arm64, and their source into dist/ (Debian 12 or 13; any user, once the above is there)

build/compiled/ready: $(VENV)/ready build/packaged $(PACKAGED) .ci/compile
	.ci/compile $(abspath $(BIN)/python) build/compiled
	touch $@

.PHONY: test-compiled
test-compiled: build/compiled/ready ## the tests of `make test` on a copy in which mypyc has compiled what moves calls
	rm -rf build/compiled/tests
	cp -a tests build/compiled
	cd build/compiled && $(abspath $(BIN)/python) -m criproxy --version | grep -F '(compiled)'
	cd build/compiled && $(abspath $(BIN)/python) -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

.PHONY: wheel
wheel: build/compiled/ready ## the Python package so compiled, for this Python and this kind of machine, into dist/
	cd build/compiled && CRIPROXY_COMPILED=1 $(abspath $(BIN)/python) setup.py --quiet bdist_wheel --dist-dir ../../dist

.PHONY: clean
clean: ## remove what the targets made
	rm -rf $(VENV) build dist run *.egg-info .pytest_cache .mypy_cache .ruff_cache
