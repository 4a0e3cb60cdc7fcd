#!/usr/bin/env bash
# Every figure of bench/RESULTS.md: criterion benches, then the release servers beside their limits. Some ten minutes;
# the arguments go to `bench http`. What needs wrk is named and left out where that is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

bench="${CARGO_TARGET_DIR:-target}/release/bench"
failed=()

step() { printf '\n== %s\n' "$*"; }

# figure COMMAND [ARGS…]: one command of the bench; a missed floor is a failure.
figure() {
  step "bench $*"
  "$bench" "$@" || failed+=("$1")
}

# needs PROGRAM COMMAND [ARGS…]: the same if that program is there.
needs() {
  local program=$1
  shift
  if command -v "$program" >/dev/null 2>&1; then figure "$@"; else echo "bench: $program is not installed, $1 left out" >&2; fi
}

step "criterion"
cargo bench --locked -p bench --benches -- --warm-up-time 1 --measurement-time 3 --noplot || failed+=("criterion")

for command in reads idle-sockets push connect clear tokens overload redis-joins redis-memory stops positions release \
  events sse confirms; do
  figure "$command"
done
needs wrk http "$@"
needs wrk holds
needs wrk seatmap

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
