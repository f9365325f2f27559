# Development of criproxy. Everything here needs git, make and python3; `make help` lists the targets.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

$(VENV)/ready: setup.py
	.ci/venv $(PYTHON) $(VENV)
	touch $@

.PHONY: venv
venv: $(VENV)/ready ## set up the virtual environment

.PHONY: run
run: venv ## the proxy before two runtimes in memory; ONCE=1: show and end; CONNECT=PATH,ID:PATH: before real ones
	@$(BIN)/python -m criproxy demo $(if $(ONCE),--once) $(if $(CONNECT),--connect '$(CONNECT)')

.PHONY: check
check: venv ## ruff and mypy
	$(BIN)/ruff check --config .ci/ruff.toml criproxy tests setup.py debian/nodeps/assemble
	$(BIN)/ruff format --check --config .ci/ruff.toml criproxy tests setup.py debian/nodeps/assemble
	$(BIN)/mypy --config-file .ci/mypy.ini criproxy

.PHONY: test
test: check ## everything that needs no root
	$(BIN)/python -m pytest tests/unit tests/system

.PHONY: test-containerd
test-containerd: venv ## the life of a pod on two real containerd instances (root)
	@test "$$(id -u)" = 0 || { echo "make test-containerd needs root: it starts containers" >&2; exit 1; }
	.ci/apt containerd runc containernetworking-plugins busybox-static
	$(BIN)/python -m pytest tests/containerd

.PHONY: test-deb
test-deb: venv deb ## the Debian packages: what is in them, and that a second build is the same
	$(BIN)/python -m pytest tests/deb

.PHONY: test-node
test-node: venv deb ## the packages on booted nodes: Debian 11, 12 and 13, as kubeadm, kubeadm-dind-cluster and kind lay them out (root)
	@test "$$(id -u)" = 0 || { echo "make test-node needs root: it boots nodes" >&2; exit 1; }
	.ci/apt debootstrap debian-archive-keyring
	$(BIN)/python -m tests.node.roots
	$(BIN)/python -m pytest tests/node

.PHONY: test-kubelet
test-kubelet: venv deb ## a real kubelet on the package, with a pod on each of two runtimes (root; builds Kubernetes 1.20 once)
	@test "$$(id -u)" = 0 || { echo "make test-kubelet needs root: it boots nodes" >&2; exit 1; }
	.ci/apt debootstrap debian-archive-keyring
	$(BIN)/python -m tests.kubelet
	$(BIN)/python -m pytest tests/kubelet

.PHONY: bench
bench: venv ## compare speed and size with what else there is (root: installs it); BENCH=--quick for a smoke run
	tests/bench/install
	$(BIN)/python -m tests.bench $(BENCH)

.PHONY: deps
deps: ## install what `make deb` needs (root)
	.ci/apt build-essential debhelper debian-archive-keyring dh-python lintian patchelf \
	  python3-all python3-pip python3-setuptools python3-stdeb

.PHONY: deb
deb: deps ## build both Debian packages into dist/ (Debian 12 or 13; any user, once the above is there)
	.ci/deb

.PHONY: clean
clean: ## remove what the targets made
	rm -rf $(VENV) build dist run *.egg-info .pytest_cache .mypy_cache .ruff_cache
