# SPDX-License-Identifier: GPL-2.0
# Everything is done by the Python package in host/; this names the targets.

.DEFAULT_GOAL := help
.NOTPARALLEL:

# These may be given on the command line or in the environment.
export KSRC ARCH ACCEL SMP MEM LIMIT N TESTS KERNEL CALLS SEED SIDE SUITE FORM DECOMPRESS REPORT ROUNDS SIZES BOOTS STEPS RECORD TRACE CONFIG MODULES

# make boot SHELL=1 asks for a shell in the guest, and not for one of that name here.
ifeq ($(origin SHELL),command line)
export GUEST_SHELL := $(filter-out 0,$(SHELL))
override SHELL := /bin/sh
endif

TARGETS := run test test-debug test-all kselftest kunit kunit-py moddedup bpftrace drgn matrix fit model chaos fuzz compare bench boot boot-compare \
	picture mounts deb lint shell watch storm \
	kernel where series absorb series-check apply clean

PREFIX ?= /usr/local

.PHONY: help machine python install-tools $(TARGETS)

# A line that begins with "##@" is the heading of a group; "##" after a target says what it does.
help: ## show this list
	@sed -n -e 's/^##@ \(.*\)/\n\1/p' -e 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22
	@echo
	@echo 'Variables, for most of these: KSRC= a kernel tree or tarball of your own, which is copied;'
	@echo '  SMP= CPUs of the guest, MEM= its memory, ACCEL= kvm or tcg, LIMIT= seconds until it is killed;'
	@echo '  KERNEL= debug, kcsan or rt: a kernel that finds mistakes; ARCH= x86_64 or arm64: the guest,'
	@echo '  in run, shell, storm, mounts, kernel, where, test (what runs in a guest), and each of those.'

##@ First steps
run: ## build a patched kernel, boot it, show what it saves
machine: python ## say which system call modprobe makes on this machine, and what is saved here
	@python3 tools/module/moddedup check
shell: ## a shell in the booted kernel
apply: ## put the series onto the kernel tree KSRC=, in place
deb: ## Debian packages of the patched kernel, booted in a guest; or for a machine: CONFIG=debian, or a file
install-tools: ## install the command moddedup below PREFIX= (/usr/local) and DESTDIR=
	install -D -m 755 tools/module/moddedup $(DESTDIR)$(PREFIX)/bin/moddedup

##@ Look and watch
watch: ## storms in the booted kernel, and what moddedup shows of them
storm: ## one storm with SMP= CPUs (255) and N= processes (SMP)
boot: ## boot Debian with real udev and kmod, and draw it; docs/boots.md has SIDE=, SUITE=, FORM=, REPORT=, SHELL=1
picture: ## draw who waited for what, from TRACE=trace.dat, or from the last make boot of each SIDE=

##@ Tests
test: ## everything that must hold; ends with "N passed, N failed"
test-debug: ## kselftests, chaos and fuzz on kernels with KASAN, KCSAN and PREEMPT_RT
test-all: ## all of that, make compare, and a million random calls; takes hours
kselftest: ## the kselftests alone, or those that TESTS= names
kunit: ## the KUnit tests alone
kunit-py: ## the same by kunit.py of the kernel, on UML and x86_64: two small kernels of their own
moddedup: ## the command moddedup alone, in a guest, while N= requests and modprobes wait
bpftrace: ## the scripts for bpftrace, in a guest with BTF
drgn: ## the script for drgn, on the memory of a guest in which loads wait
model: ## every interleaving of a few callers of the engine, and of its mutants
chaos: ## CALLS= loads, removals, signals, kills and faults at random (SEED= repeats)
fuzz: ## CALLS= hostile system calls (SEED= repeats)
matrix: ## build the objects alone with fourteen configurations, one of them Debian's
lint: ## checks of style, of the documents, and of the series

##@ Measurements (RECORD=1 keeps the result in bench/results/ and in the documents)
compare: ## the kselftests on the stock kernel and on this one, in one table
bench: ## stock, this series, and this series without joining, by instruction counts
boot-compare: ## BOOTS= boots of each of the three, with SIZES="8 64 255" CPUs
mounts: ## N= processes mount what needs a missing module: requests joined, and not

##@ The series
series: ## write the series, as mails to send, to out/series/
fit: ## try the series on the newest kernel source in Debian, or on KSRC=, and say which hunks no longer fit
absorb: ## put edits, also of stock files in out/stack/, into the steps of the series
series-check: ## build and test every step of the series (or STEPS="2 5")

##@ Housekeeping
kernel: ## build the kernel, its modules and the selftests, and no more
where: ## where things are, as KEY=VALUE lines
clean: ## remove what was built (not what was downloaded)

$(TARGETS): python
	@PYTHONDONTWRITEBYTECODE=1 python3 -m host $@

# A fresh Debian has no Python.
python:
	@command -v python3 > /dev/null || \
		{ [ "$$(id -u)" = 0 ] && { apt-get update; apt-get install -y python3; } > /dev/null 2>&1; \
		command -v python3 > /dev/null; } || \
		{ echo 'python3 is missing. As root, with a network: apt-get install python3' >&2; exit 1; }
