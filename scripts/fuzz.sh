#!/usr/bin/env bash
# Fuzzes each target for FUZZ_SECONDS (60), two at a time, from the kept corpus. Stable Rust, cargo and a C++ compiler
# are all it needs: the coverage that libFuzzer goes by comes from a pass of LLVM.
#   scripts/fuzz.sh [TARGET…]         fuzz; what makes a target fail is kept in fuzz/artifacts/TARGET
#   scripts/fuzz.sh keep [TARGET…]    the same, then put the smallest inputs that cover what was found into the corpus
set -euo pipefail
cd "$(dirname "$0")/.."

SECONDS_EACH="${FUZZ_SECONDS:-60}"
# An input that takes longer, or a target that takes more memory, is a finding.
INPUT_SECONDS_MAX=5
MEMORY_MB_MAX=1024
INPUT_BYTES_MAX=2048
ALL=(wire tokens replies line)

host=$(rustc -vV | sed -n 's/^host: //p')
target_dir="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v c++ >/dev/null 2>&1 || { echo "fuzz: a C++ compiler is needed to build libFuzzer" >&2; exit 1; }

keep=0
if [ "${1:-}" = keep ]; then keep=1 && shift; fi
targets=("${@:-${ALL[@]}}")

# The target is named so that the flags stay away from build scripts and macros.
CARGO_TARGET_DIR="$target_dir" RUSTFLAGS="--cfg fuzzing ${coverage[*]}" \
  cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --bins
program() { echo "$target_dir/$host/release/$1"; }

# What is found on the way goes to a folder of its own, so that a run leaves the tree as it was.
run() {
  local target=$1 found="$work/$1.found"
  local options=("-max_total_time=$SECONDS_EACH" "-timeout=$INPUT_SECONDS_MAX" "-rss_limit_mb=$MEMORY_MB_MAX"
    "-max_len=$INPUT_BYTES_MAX" "-artifact_prefix=fuzz/artifacts/$target/" -print_final_stats=1)
  if [ -f "fuzz/$target.dict" ]; then options+=("-dict=fuzz/$target.dict"); fi
  mkdir -p "$found" "fuzz/artifacts/$target" "fuzz/corpus/$target"
  "$(program "$target")" "${options[@]}" "$found" "fuzz/corpus/$target" >"$work/$target.log" 2>&1
}

report() {
  local runs cover
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$1.log")
  cover=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$work/$1.log" | tail -n 1)
  printf 'fuzz: %-8s %s runs, %s edges\n' "$1" "${runs:-?}" "${cover:-?}"
}

failed=()
for ((at = 0; at < ${#targets[@]}; at += 2)); do
  pair=("${targets[@]:at:2}")
  pids=()
  for target in "${pair[@]}"; do
    run "$target" &
    pids+=("$!")
  done
  for i in "${!pids[@]}"; do
    if wait "${pids[i]}"; then
      report "${pair[i]}"
    else
      tail -n 60 "$work/${pair[i]}.log" >&2
      failed+=("${pair[i]}")
    fi
  done
done
if [ "${#failed[@]}" -gt 0 ]; then
  printf 'fuzz: FAILED %s; the inputs are in fuzz/artifacts\n' "${failed[*]}" >&2
  exit 1
fi

if [ "$keep" = 1 ]; then
  for target in "${targets[@]}"; do
    mkdir "$work/$target.kept"
    "$(program "$target")" -merge=1 "$work/$target.kept" "fuzz/corpus/$target" "$work/$target.found" >/dev/null 2>&1
    rm -rf "fuzz/corpus/$target"
    cp -r "$work/$target.kept" "fuzz/corpus/$target"
    printf 'fuzz: %-8s %s inputs are kept\n' "$target" "$(find "fuzz/corpus/$target" -type f | wc -l)"
  done
fi
