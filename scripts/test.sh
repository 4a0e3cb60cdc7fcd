#!/usr/bin/env bash
# Builds the workspace and runs every test: the acceptance script, then the tests of the crates, whose runner's
# summary comes last. Goes through to the end whatever fails, and says at the end what did.
set -euo pipefail
cd "$(dirname "$0")/.."

bin_dir="${CARGO_TARGET_DIR:-target}/debug"
failed=()

step() { printf '\n== %s\n' "$*"; }

step "build"
# With the tests at once: dependencies are then built with one set of features, and only once.
cargo build --workspace --all-features --locked --bins --tests

step "acceptance: two nodes on one Redis, driven by Python clients"
.venv/bin/python tests/acceptance/two_nodes.py --bin-dir "$bin_dir" || failed+=("tests/acceptance/two_nodes.py")

step "gates: nginx in front of a plain backend"
if command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || [ -x .venv/bin/nginx ]; then
  .venv/bin/python tests/gates/gates.py --bin-dir "$bin_dir" nginx || failed+=("tests/gates/gates.py")
else
  echo "nginx is not installed, left out" >&2
fi

step "seeing: metrics, alerts, log lines, no secret in any of them"
.venv/bin/python tests/seeing/seeing.py --bin-dir "$bin_dir" || failed+=("tests/seeing/seeing.py")

step "examples in the documentation"
cargo test --workspace --locked --doc --quiet || failed+=("cargo test --doc")

step "crates"
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --all-features --locked --no-fail-fast || failed+=("cargo nextest run")
else
  cargo test --workspace --all-features --locked --no-fail-fast --lib --bins --tests || failed+=("cargo test")
fi

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
