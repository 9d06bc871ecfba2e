# A thin front: every target is one script or one meson command. `make help` lists them.
BUILD ?= build
BUILDTYPE ?= debugoptimized
PREFIX ?= /usr/local
INSTALL_BUILD ?= build-install

.PHONY: help deps build demo test bench fuzz lint coverage install clean

help:
	@echo "make build    install what is missing, build into $(BUILD)/"
	@echo "make demo     the main job on real data, within a minute"
	@echo "make test     every test"
	@echo "make bench    the figures of docs/performance.md"
	@echo "make fuzz     every fuzz target for a minute (SECONDS=600 TARGETS=wire,client)"
	@echo "make lint     clang-format, clang-tidy, cppcheck, house rules: minutes, so not part of make test"
	@echo "make coverage what the tests reach: build-coverage/coverage/index.html"
	@echo "make install  a release build into DESTDIR/PREFIX (PREFIX=/usr/local)"

deps:
	@scripts/deps

$(BUILD)/build.ninja: | deps
	@meson setup $(BUILD) --buildtype=$(BUILDTYPE) >/dev/null || (cat $(BUILD)/meson-logs/meson-log.txt; exit 1)

build: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD)

demo: build
	@scripts/demo

test: deps
	@tests/run

# Configured again: what was missing before may be there now.
bench: deps
	@scripts/deps --perf
	@test ! -f $(BUILD)/build.ninja || meson configure --clearcache $(BUILD)
	@$(MAKE) build
	@perf/run

fuzz: deps
	@tests/fuzz/run --seconds $(or $(SECONDS),60) $(if $(TARGETS),--targets $(TARGETS))

lint: build
	@scripts/deps --lint
	@scripts/lint

coverage: deps
	@scripts/deps --coverage
	@scripts/coverage

# The prefix is written into units and pkg-config files, so another one is another build directory's.
install: deps
	@test -f $(INSTALL_BUILD)/build.ninja || meson setup $(INSTALL_BUILD) --buildtype=release --prefix=$(PREFIX) >/dev/null
	@meson configure $(INSTALL_BUILD) -Dprefix=$(PREFIX)
	@ninja -C $(INSTALL_BUILD)
	@meson install -C $(INSTALL_BUILD) --no-rebuild --quiet

clean:
	rm -rf build build-*
