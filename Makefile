# The commands of this repository. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

CARGO_DENY := 0.20.2
TYPOS := 1.52.0
MOTO := 5.2.5
CARGO_MUTANTS := 27.1.0
DUCKDB := 2.0.1

.PHONY: help run test check bench needs moto faults kills parsers mutants deny advisories typos offline slow conformance

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start a server with demonstration data
	cargo run --release -- demo

test: needs moto ## Format, lints, docs, the checklist, and every test on both databases
	@step() { printf '\n== %s\n' "$$*"; "$$@"; }
	results=$$(mktemp -d)
	trap 'rm -rf "$$results"' EXIT
	# What cargo says goes to the screen and into a file that is counted afterwards.
	counted() { local name=$$1; shift; step "$$@" 2>&1 | tee "$$results/$$name"; }
	total() {
	    awk -v code="$$code" '
	        { gsub(/\033\[[0-9;]*m/, "") }
	        /^test result: / {
	            for (i = 2; i <= NF; i++) {
	                if ($$i == "passed;") passed += $$(i - 1)
	                if ($$i == "failed;") failed += $$(i - 1)
	                if ($$i == "ignored;") skipped += $$(i - 1)
	            }
	        }
	        # A test that brings the whole program down leaves no line of its own.
	        END {
	            if (code != 0 && failed == 0) failed = 1
	            printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped
	        }' "$$results"/*
	}
	step cargo fmt --check
	step cargo clippy --all-targets --locked -- -D warnings
	# Real price history lies beside the repository and not in it. Tests that need it are marked as ignored, and
	# run where it is.
	flags=()
	[ ! -d "$${ARTIFACT_SHARED:-../shared}/data" ] || flags=(-- --include-ignored)
	code=0
	counted docs cargo test --doc --locked || code=$$?
	if [ "$$code" -ne 0 ]; then total; exit "$$code"; fi
	RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --document-private-items --locked
	step cargo run --locked -- checklist
	# Built first, so that the server does not stand about meanwhile.
	step cargo test --locked --lib --test suite --no-run
	# --no-fail-fast: the count is of all tests, also when the first binary has a failing one.
	counted suite scripts/with-postgres.sh \
	    cargo test --locked --no-fail-fast --lib --test suite "$${flags[@]}" || code=$$?
	if ! grep -Eq '^test result: .* ([1-9][0-9]* passed|[1-9][0-9]* failed)' "$$results/suite"; then
	    printf '\nmake: no test ran\n' >&2
	    [ "$$code" -ne 0 ] || code=1
	fi
	# The same binary on full disks, without power, and beside damaged files. Needs root: elsewhere it says that it
	# was not tried, and in CI that is a failure.
	if [ "$$(id -u)" -eq 0 ] || [ -n "$${CI:-}" ]; then
	    step tests/faults/run.py --quick || { [ "$$code" -ne 0 ] || code=1; }
	else
	    printf '\n!! NOT TRIED: tests/faults/run.py needs root\n' >&2
	fi
	total
	exit "$$code"

check: deny typos offline slow conformance faults kills parsers ## Slower: licences and sources of dependencies, spelling, an offline release build, slow clients, the document of the API, faults, kills and parsers at length

bench: needs target/tools/duckdb-$(DUCKDB) ## Measure
	scripts/with-postgres.sh cargo bench --locked --bench bench

target/tools/duckdb-$(DUCKDB): # The peer of candles.
	@scripts/needs.sh check
	python3 -m venv target/tools
	target/tools/bin/pip install --quiet duckdb==$(DUCKDB)
	touch $@

slow: offline # Slow clients and idle connections, with their full numbers.
	python3 scripts/slow_clients.py target/release/artifact

conformance: offline # Every route as its document says it is.
	scripts/needs.sh check
	scripts/conformance.sh target/release/artifact

faults: offline # Fifty power cuts, twenty kills in a migration, backups of 100 MB, and the rest of docs/RELIABILITY.md.
	ARTIFACT_BINARY=target/release/artifact tests/faults/run.py

kills: # Two hundred kills under load and fifty ends, on databases one after another.
	@ARTIFACT_TEST_LONG=1 scripts/with-postgres.sh cargo test --locked --test suite -- --nocapture process::kill process::life::sigterm

parsers: # Nearly right files and messages, half a million for each parser.
	PROPTEST_CASES=65536 cargo test --locked --lib -- odd_answers odd_it_is however_odd damaged_block left_as_it_is

mutants: # Each rule and each check of who may come in broken on purpose, one build each: many hours, so not in `check`.
	@cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants@$(CARGO_MUTANTS)
	cargo mutants --output target $(MUTANTS)

moto: target/tools/moto-$(MOTO) # Storage that speaks S3, for the tests of backups.

target/tools/moto-$(MOTO):
	@scripts/needs.sh test
	python3 -m venv target/tools
	target/tools/bin/pip install --quiet 'moto[server]==$(MOTO)'
	touch $@

needs: ## Install what the tests start: scripts/needs.txt
	@scripts/needs.sh test

advisories: ## Look for known flaws in dependencies; needs the network. Each day: see SECURITY.md
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny@$(CARGO_DENY)
	cargo deny --locked check advisories

deny: # Without advisories: they need a clone of a database from the network.
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny@$(CARGO_DENY)
	cargo deny --locked check --hide-inclusion-graph bans licenses sources

typos: target/tools/typos-$(TYPOS)
	target/tools/bin/typos

target/tools/typos-$(TYPOS):
	@scripts/needs.sh check
	python3 -m venv target/tools
	target/tools/bin/pip install --quiet typos==$(TYPOS)
	touch $@

offline: # The lock file is all a build needs: no build script fetches anything.
	@cargo fetch --locked
	cage=()
	for try in "unshare --net" "unshare --map-root-user --net"; do
	    if $$try true 2>/dev/null; then read -ra cage <<<"$$try"; break; fi
	done
	[ "$${#cage[@]}" -gt 0 ] || echo "make: cannot cut the network off here; trusting cargo's --offline" >&2
	"$${cage[@]}" cargo build --offline --locked --release
