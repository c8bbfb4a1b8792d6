# Two commands do everything on a fresh Debian 12 machine, as root: make demo, make test.

SHELL := /bin/bash
.DEFAULT_GOAL := build

PACKAGES := g++ cmake ninja-build make ccache pkg-config git ca-certificates \
  libssh2-1-dev libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev \
  libboost-dev libboost-program-options-dev libspdlog-dev libfmt-dev libgtest-dev nlohmann-json3-dev \
  libssl-dev libzstd-dev zlib1g-dev \
  nix-bin busybox-static debootstrap debian-archive-keyring systemd-container dbus iproute2 procps util-linux \
  openssh-client openssh-server sudo fish tcsh zsh python3 python3-pytest sqlite3 time
# The versions by which this repository is formatted, checked and fuzzed; elsewhere what the distribution has.
CLANG := $(shell . /etc/os-release; [ "$$VERSION_CODENAME" != bookworm ] || echo -14)
LINT_PACKAGES := clang-format$(CLANG) clang-tidy$(CLANG)
MODEL_PACKAGES := spin
FUZZ_PACKAGES := clang$(CLANG) libclang-rt$(CLANG)-dev
ALL_PACKAGES := $(PACKAGES) $(LINT_PACKAGES) $(MODEL_PACKAGES) $(FUZZ_PACKAGES)

JOBS ?= $(shell nproc)

.PHONY: deps packages build demo test soak unit model fuzz lab-test bench format style lint clean

# Marked by the list of packages, so that it costs nothing the second time.
DEPS_MARK := /var/lib/flurry-deps/$(shell echo '$(ALL_PACKAGES)' | md5sum | cut -c1-16)
deps: $(DEPS_MARK)
$(DEPS_MARK):
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(ALL_PACKAGES)
	# Debian's nix-bin makes no /nix, and tests mount stores of their own there.
	mkdir -p /nix $(@D) && touch $@

packages:
	@echo $(ALL_PACKAGES)

build: deps
	cmake --preset release
	cmake --build --preset release -j $(JOBS)

demo: build
	tests/lab/demo

test: unit style model fuzz lab-test

# The long versions of the simulator, the fuzz targets and the model, and whether the tests see harm, as long as told: make soak SOAK_SECONDS=3600
# And the build with what Debian testing has.
SOAK_SECONDS ?= 600
soak: build
	SIM_SECONDS=$(SOAK_SECONDS) SIM_FIRST=$$(date +%s) build/bin/sim_test --gtest_also_run_disabled_tests --gtest_filter='*AsLongAsAsked'
	tests/fuzz/run --seconds $(SOAK_SECONDS)
	tests/model/run --long
	tests/lab/build-on forky
	tests/mutants/run

unit: build
	ctest --preset release -j $(JOBS)

model: deps
	tests/model/run

fuzz: deps
	tests/fuzz/run

lab-test: build
	tests/lab/run-tests

bench: build
	tests/bench/run

SOURCES = $(shell git ls-files -- '*.cc' '*.h')

format: deps
	clang-format$(CLANG) -i $(SOURCES)

style: deps
	$(if $(CLANG),clang-format$(CLANG) --dry-run --Werror $(SOURCES),@echo "format: not checked, other versions format otherwise")
	tests/lint/arrows
	tests/lint/includes
	tests/lint/traps | tail -1
	tests/lint/promises
	tests/mutants/run --check

# Takes minutes, so `make test` leaves clang-tidy out.
lint: build style
	run-clang-tidy$(CLANG) -quiet -j $(JOBS) -p build -extra-arg=-Wno-unknown-warning-option '/(core|eval|agent|cli)/.*\.cc$$'

clean:
	rm -rf build
