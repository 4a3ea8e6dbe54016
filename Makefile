# Every target sets up what it needs (Debian packages, only as root; the virtual environment), so on a new Debian 12
# one command is enough. If everything is in place, the set-up takes milliseconds.

# Programs that bundled plugins or the tests call.
PACKAGES = curl dhcpcd-base dmidecode dnsmasq-base dosfstools e2fsprogs fdisk fwupd gdisk iproute2 ipmitool jq kmod lshw \
           mtools nvme-cli \
           openssl procps shellcheck smartmontools udev \
           $(IMAGE_PACKAGES)
# Used by the tests to serve, pack and compare images: a web server, other clients for BitTorrent, multicast and iSCSI
# (read by qemu-block-extra), packers and their multi-stream variants. iptables drops packets, cpio packs overlays.
IMAGE_PACKAGES = aria2 bmap-tools bzip2 cpio iptables lbzip2 lz4 mktorrent nginx-light opentracker pigz \
                 qemu-block-extra qemu-utils tgt transmission-cli transmission-daemon udpcast xz-utils zstd
# Contenders in the benchmarks, and compilers.
BENCH_PACKAGES = gcc libc6-dev webhook wrk
BENCH_IMAGE_PACKAGES = aria2 bmap-tools curl e2fsprogs fdisk gdisk gzip nginx-light parted qemu-utils zstd
BENCH_FLEET_PACKAGES = iproute2 iptables udpcast util-linux zstd

# To build the ramdisk and run it in a virtual machine.
RAMDISK_PACKAGES = cpio kmod mmdebstrap squashfs-tools xz-utils zstd
# diskimage-builder calls sudo everywhere, even as root, and checks debootstrap's version even when it uses mmdebstrap.
DIB_PACKAGES = $(RAMDISK_PACKAGES) debootstrap e2fsprogs mount sudo
NODE_PACKAGES = e2fsprogs mtools openssl ovmf qemu-system-x86 util-linux
# Also for the acceptance tests, to create a tiny bootable image, USB sticks and a config drive, and to serve images.
ACCEPTANCE_PACKAGES = $(NODE_PACKAGES) busybox-static cpio dosfstools gdisk grub-common grub-efi-amd64-bin grub-pc-bin xorriso \
                      iproute2 qemu-block-extra qemu-utils tgt udpcast zstd

VENV = .venv
STAMP = $(VENV)/.installed
# The ramdisk to build, RAMDISK.kernel and RAMDISK.initramfs, and its elements.
RAMDISK ?= .ramdisk/agent-router
ELEMENTS ?= agent-router-live agent-router-ssh
# The acceptance tests deploy by every transport.
ACCEPTANCE_ELEMENTS = $(ELEMENTS) agent-router-torrent agent-router-multicast agent-router-iscsi
DIB = .ramdisk/dib
DIB_VERSION = 3.43.0
IPA = .bench/ipa
# Draws the fleet figure.
PLOT = .bench/plot
# Can name an existing environment with ironic-python-agent instead.
BENCH_IPA ?= $(abspath $(IPA))
IPA_VERSION = 13.0.0
# The conductor for tests/conductor, and the programs that it and those tests call.
IRONIC = .ironic
IRONIC_PACKAGES = fdisk mount openssl qemu-utils util-linux xorriso
# Parallel test processes. They spend more time waiting than working: for time limits, other programs, Ironic.
WORKERS ?= 8
PARALLEL = --numprocesses $(WORKERS) --dist loadgroup
PYTEST = tools/apart.sh $(VENV)/bin/python -m pytest

.PHONY: help acceptance check conductor coverage demo fresh test node lint bench bench-conductor bench-fleet bench-image bench-ramdisk run ramdisk ramdisk-dib docs packages clean
.DEFAULT_GOAL = help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(STAMP) packages ## show the router at work on this machine
	$(VENV)/bin/python demo/run.py $(ARGS)

test: $(STAMP) packages $(IRONIC)/.installed ## run all tests except linters and tests in a virtual machine; ARGS="-k wipe" selects
	$(PYTEST) $(PARALLEL) -m "not lint and not ramdisk" $(ARGS)

check: $(STAMP) ## run the quick tests, without root, Ironic and swarm; ARGS="-k wipe" selects
	$(PYTEST) --numprocesses 2 -m "not root and not swarm and not slow and not lint and not ramdisk" $(ARGS)

coverage: $(STAMP) packages $(IRONIC)/.installed ## run make test and report the branch coverage of agent_router
	$(VENV)/bin/coverage erase
	tools/apart.sh $(VENV)/bin/coverage run -m pytest $(PARALLEL) -m "not lint and not ramdisk" $(ARGS)
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report

fresh: ## run targets on a newly created Debian, as root; ARGS="demo test" names them
	tools/fresh.sh $(ARGS)

conductor: $(STAMP) packages $(IRONIC)/.installed ## run only the tests with the real Ironic, as root; ARGS="-k deploy" selects
	$(PYTEST) --numprocesses 3 --dist loadgroup tests/conductor $(ARGS)

lint: $(STAMP) packages $(DIB)/.installed ## run ruff, mypy, shellcheck, codespell, dib-lint and the project rules; none may be missing
	@tools/need.sh file git
	CI=true $(VENV)/bin/python -m pytest tests/test_linters.py $(ARGS)

bench: $(STAMP) packages $(if $(filter $(abspath $(IPA)),$(BENCH_IPA)),$(IPA)/.installed) ## compare with webhook, a bare spawn and IPA; BENCH_QUICK=1: a quick run
	@tools/need.sh $(BENCH_PACKAGES)
	test ! -e benchmarks/setup.sh || benchmarks/setup.sh
	BENCH_QUICK=$(BENCH_QUICK) BENCH_IPA=$(BENCH_IPA) $(VENV)/bin/python benchmarks/run.py $(ARGS)

bench-conductor: $(STAMP) packages $(IRONIC)/.installed $(if $(filter $(abspath $(IPA)),$(BENCH_IPA)),$(IPA)/.installed) ## run workflows of the real Ironic with our agent and with IPA, as root; BENCH_QUICK=1: one round
	BENCH_QUICK=$(BENCH_QUICK) BENCH_IPA=$(BENCH_IPA) $(VENV)/bin/python benchmarks/conductor.py $(ARGS)

bench-image: $(STAMP) packages $(if $(filter $(abspath $(IPA)),$(BENCH_IPA)),$(IPA)/.installed) ## write an image in all formats, compared with curl, qemu-img, bmaptool, aria2 and IPA, as root; BENCH_QUICK=1: one round
	@tools/need.sh $(BENCH_IMAGE_PACKAGES)
	BENCH_QUICK=$(BENCH_QUICK) BENCH_IPA=$(BENCH_IPA) $(VENV)/bin/python benchmarks/image.py $(ARGS)

bench-fleet: $(STAMP) packages $(PLOT)/.installed ## deploy to 1 to 16 machines by HTTP, torrent and multicast and draw docs/fleet.svg, as root; BENCH_QUICK=1: 1 and 4
	@tools/need.sh $(BENCH_FLEET_PACKAGES)
	BENCH_QUICK=$(BENCH_QUICK) $(VENV)/bin/python benchmarks/fleet.py --name fleet $(ARGS)
	$(if $(BENCH_QUICK),,$(PLOT)/bin/python benchmarks/fleet_plot.py benchmarks/results/fleet.json docs)

bench-ramdisk: $(STAMP) ## boot our ramdisk and stock IPA's in QEMU and compare them, as root; BENCH_QUICK=1: one round
	@tools/need.sh $(RAMDISK_PACKAGES) $(NODE_PACKAGES)
	BENCH_IPA_VERSION=$(IPA_VERSION) benchmarks/ramdisk-setup.sh
	BENCH_QUICK=$(BENCH_QUICK) $(VENV)/bin/python benchmarks/ramdisk.py $(ARGS)

run: $(STAMP) ## serve on http://127.0.0.1:9999; ARGS="--port 8000" adds options
	$(VENV)/bin/agent-router serve $(ARGS)

ramdisk: $(STAMP) ## build .ramdisk/agent-router.{kernel,initramfs} the fast way, as root; ELEMENTS="…" selects elements
	@tools/need.sh $(RAMDISK_PACKAGES)
	tools/ramdisk/wheels.sh .ramdisk/wheels $(ELEMENTS)
	DIB_AGENT_ROUTER_WHEELS=$(abspath .ramdisk/wheels) DIB_AGENT_ROUTER_LEVEL=$${DIB_AGENT_ROUTER_LEVEL:-3} \
	    tools/ramdisk/build.sh $(RAMDISK) $(ELEMENTS)

ramdisk-dib: $(STAMP) $(DIB)/.installed ## build it with diskimage-builder, on any distribution, as root or with sudo; DIB_… variables apply
	@tools/need.sh $(DIB_PACKAGES)
	DIB_BUILDER=$(abspath $(DIB)) tools/ramdisk/dib.sh $(RAMDISK) $(ELEMENTS)

node: $(STAMP) ## boot the ramdisk in a virtual machine and print its agent's URL; ARGS="--uefi", --help lists more
	@tools/need.sh $(NODE_PACKAGES)
	@test -e $(RAMDISK).initramfs || $(MAKE) --no-print-directory ramdisk
	@RAMDISK=$(RAMDISK) $(VENV)/bin/python tools/ramdisk/node.py $(ARGS)

acceptance: $(STAMP) $(IRONIC)/.installed ## build the ramdisk with all transports, run tests/ramdisk in QEMU, boot the disks written; ARGS="-k wipe" selects
	@tools/need.sh $(ACCEPTANCE_PACKAGES)
	begun=$$(date +%s) && $(MAKE) --no-print-directory ramdisk ELEMENTS="$(ACCEPTANCE_ELEMENTS)" && \
	    CI=true RAMDISK=$(RAMDISK) BEGUN=$$begun $(VENV)/bin/python -m pytest tests/ramdisk $(ARGS)

docs: $(STAMP) ## generate docs/commands.md from schemas/
	$(VENV)/bin/python tools/commands_md.py

packages:
	@tools/need.sh $(PACKAGES)

$(STAMP): setup.py pyproject.toml
	@tools/venv.sh $(VENV) --editable '.[fast,dev]'

# Separate environments, so that other projects' dependencies do not affect ours. diskimage-builder includes dib-lint.
$(IPA)/.installed:
	@tools/venv.sh $(IPA) ironic-python-agent==$(IPA_VERSION)

$(PLOT)/.installed:
	@tools/venv.sh $(PLOT) matplotlib

$(DIB)/.installed:
	@tools/venv.sh $(DIB) diskimage-builder==$(DIB_VERSION)

# Ironic's hundred or so dependencies are pinned to the versions that the tests were written for.
$(IRONIC)/.installed: tests/conductor/requirements.txt
	@tools/need.sh $(IRONIC_PACKAGES)
	@tools/venv.sh $(IRONIC) --no-deps --requirement $<

clean: ## remove everything that the other targets created
	rm -rf $(VENV) $(IRONIC) .bench .ramdisk build dist *.egg-info .coverage .coverage.* htmlcov .tox .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
