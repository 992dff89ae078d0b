# `make run` and `make test` are all that a newcomer needs; both install what is missing first.

# Static binaries name their target, so they lie below its folder.
RELEASE := target/x86_64-unknown-linux-gnu/release
SCENARIO ?= scenarios/chardev.yaml
# So many of the guests' tests at a time, 2 at most, each on a host of its own: two processors take half the time.
GUESTS ?= $(shell test "$$(nproc)" -lt 2 && echo 1 || echo 2)

DEBIAN_KERNEL := $(or $(VMM_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vmm)/tools/debian-kernel

.PHONY: run test test-all bench check dist setup clean

run: setup
	$(RELEASE)/vmm run $(SCENARIO)

# The unit tests need no KVM; the guests' tests run on this machine's KVM, or on an emulated host.
test: setup
	$(RELEASE)/vmm doctor || true
	cargo test --workspace --exclude vmm
	cargo test --release -p vmm --bins --test hostile -- --test-threads=1
	cargo test --release -p vmm --test guests -- --test-threads=$(GUESTS)

# The same, and attacks where no namespaces are to be had; other kernels: 7.3, which is built, and Debian's own; the kernel's own tests; an array on Slurm, where that is
# installed; pages in a browser; the release in a bare Debian, in a whole machine, and as Gradescope has it; an Intel processor; no figure more than 5 % dearer.
test-all: test
	./setup debian-kernel
	./setup intel
	./setup browser
	./setup release
	VMM_TEST_BROWSER=1 cargo test --release -p vmm --test guests -- --test-threads=1 a_browser_shows
	VMM_DEBIAN_KERNEL=$$(echo $(DEBIAN_KERNEL)/linux-image-*.deb) \
		cargo test --release -p vmm --test guests -- --test-threads=$(GUESTS) --ignored guests::kernels guests::intel guests::bisect guests::grade guests::kernel_tests guests::hostile guests::robustness guests::warm
	! unshare --user --map-root-user true || \
		unshare --user --map-root-user sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$$@"' sh \
		cargo test --release -p vmm --test hostile -- --test-threads=1
	tests/release/setup
	tests/release/gitlab
	tests/release/slurm $(RELEASE)/vmm
	$(MAKE) dist
	tests/release/debian target/dist/vmm-*-linux.tar.zst target/debian
	tests/release/machine target/dist/vmm-*-linux.tar.zst target/debian
	tests/release/gradescope target/dist/vmm-*-linux.tar.zst target/debian
	$(RELEASE)/vmm bench exact --table tests/bench/exact.json

# Figures beside the bars that they are held against; of the times none passes or fails.
bench: setup
	./setup intel
	$(RELEASE)/vmm bench exact --table tests/bench/exact.json
	$(RELEASE)/vmm bench boot
	$(RELEASE)/vmm bench warm
	$(RELEASE)/vmm bench calls
	$(RELEASE)/vmm bench build

check: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	command -v cargo-deny >/dev/null || cargo install --quiet --locked cargo-deny
	cargo deny check
	cargo deny --manifest-path tests/fuzz/Cargo.toml --config deny.toml check
	ci/lint
	ci/fuzz 30

# A release: vmm-VERSION-x86_64-linux.tar.zst and its checksum, in target/dist.
dist:
	./ci/dist

setup:
	@./setup

clean:
	cargo clean
