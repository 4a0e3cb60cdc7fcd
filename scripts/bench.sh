#!/usr/bin/env bash
# Every figure of bench/RESULTS.md: criterion benches, then the release servers under load. A few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

bench="${CARGO_TARGET_DIR:-target}/release/bench"
failed=()

step() { printf '\n== %s\n' "$*"; }

step "criterion"
cargo bench --locked -p bench --benches -- --warm-up-time 1 --measurement-time 3 --noplot || failed+=("criterion")

step "position reads per event and tick"
"$bench" reads || failed+=("reads")

step "server memory per idle socket"
"$bench" idle-sockets || failed+=("idle-sockets")

step "a pushed position beside a bare send"
"$bench" push || failed+=("push")

step "connect, upgrade and join beside the upgrade alone"
"$bench" connect || failed+=("connect")

step "how soon a clear is told"
"$bench" clear || failed+=("clear")

step "active tokens"
"$bench" tokens || failed+=("tokens")

step "three times as many joins as the store takes"
"$bench" overload || failed+=("overload")

step "batched joins and admissions in Redis, without and with an append-only file"
"$bench" redis-joins || failed+=("redis-joins")

step "Redis memory per waiter"
"$bench" redis-memory || failed+=("redis-memory")

step "how long scripts stop Redis"
"$bench" stops || failed+=("stops")

step "positions beside ZRANK for each"
"$bench" positions || failed+=("positions")

step "from a release to the next entry"
"$bench" release || failed+=("release")

step "a thousand events on one node"
"$bench" events || failed+=("events")

step "HTTP beside hello-world"
if command -v wrk >/dev/null 2>&1; then
  "$bench" http "$@" || failed+=("http")
else
  echo "bench: wrk is not installed, left out" >&2
fi

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
