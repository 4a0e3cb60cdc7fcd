#!/usr/bin/env bash
# Everything that can be said about the code without running it. Tools that are not installed are named and left out.
set -euo pipefail
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1; }
skip() { printf 'lint: %s is not installed, left out\n' "$1" >&2; }

# Advisories need their database, which needs the network; without it the rest is still checked.
deny() {
  cargo deny --all-features check bans licenses sources
  local said
  if said=$(cargo deny --all-features check advisories 2>&1); then
    printf '%s\n' "$said"
  elif grep -q 'failed to fetch advisory database' <<<"$said"; then
    printf 'lint: the advisory database cannot be reached, advisories left out\n' >&2
  else
    printf '%s\n' "$said" >&2
    return 1
  fi
}

# One file of each server reads the wall clock; everything else is given the time.
clocks() {
  if grep -rnE 'SystemTime::now|Timestamp::now' --include='*.rs' queue-core/src queue-server/src ticket-server/src bench/src |
    grep -v '/src/clock\.rs:'; then
    printf 'lint: the wall clock is read outside of clock.rs\n' >&2
    return 1
  fi
}

cargo fmt --all --check
clocks
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
if have cargo-deny; then deny; else skip cargo-deny; fi
if have shellcheck; then shellcheck scripts/*.sh .ci/run; else skip shellcheck; fi
