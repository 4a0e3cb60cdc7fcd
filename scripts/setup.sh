#!/usr/bin/env bash
# Installs what the tests need and is not there yet: make and compilers, redis-server 7 or newer, PostgreSQL, MariaDB, a Chromium,
# a Python environment with three packages, nginx, promtool and axe-core. Asks no questions. Fails only when the tests cannot run at all;
# everything else that is missing is said in one line each.
set -euo pipefail
cd "$(dirname "$0")/.."

REDIS_MAJOR_MIN=7
VENV=.venv
REQUIREMENTS=tests/acceptance/requirements.txt
TOOLS=.tools
AXE_VERSION=4.14.1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
fatal=0

have() { command -v "$1" >/dev/null 2>&1; }
note() { printf 'setup: %s\n' "$*" >&2; }
missing() { note "missing: $*"; fatal=1; }

# Runs a command as root: directly, or through sudo if that needs no password.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    echo "needs root, and sudo asks for a password" && return 1
  fi
}

manager() {
  local each
  for each in apt-get dnf brew; do
    if have "$each"; then echo "$each" && return; fi
  done
}

apt_lists_fresh=0
# install APT-NAMES DNF-NAMES BREW-NAMES: installs through whatever package manager is here; quiet unless it fails.
install() {
  local -a apt dnf brew
  read -ra apt <<<"$1"
  read -ra dnf <<<"$2"
  read -ra brew <<<"$3"
  case "$(manager)" in
    apt-get)
      note "installing ${apt[*]}"
      if [ "$apt_lists_fresh" = 0 ]; then
        as_root apt-get update -q >"$log" 2>&1 || true
        apt_lists_fresh=1
      fi
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${apt[@]}" >"$log" 2>&1
      ;;
    dnf) note "installing ${dnf[*]}" && as_root dnf install -y -q "${dnf[@]}" >"$log" 2>&1 ;;
    brew) note "installing ${brew[*]}" && NONINTERACTIVE=1 brew install -q "${brew[@]}" >"$log" 2>&1 ;;
    *) echo "no apt-get, dnf or brew here" >"$log" && return 1 ;;
  esac
}

why() { tail -n 1 "$log" | cut -c 1-160; }

redis_major() { redis-server --version 2>/dev/null | sed -nE 's/.* v=([0-9]+)\..*/\1/p'; }

redis_ready() { have redis-server && have redis-cli && [ "$(redis_major)" -ge "$REDIS_MAJOR_MIN" ] 2>/dev/null; }

chromium_path() {
  local each
  for each in "${USHER_CHROMIUM:-}" chromium chromium-browser google-chrome-stable google-chrome \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" /Applications/Chromium.app/Contents/MacOS/Chromium; do
    if [ -n "$each" ] && have "$each"; then echo "$each" && return; fi
  done
  return 1
}

# Debian has a chromium that runs; Ubuntu's is a snap that needs a daemon, so it must also answer.
chromium_ready() { local path && path=$(chromium_path) && "$path" --version >/dev/null 2>&1; }

venv_stamp() { echo "$VENV/ready-$(cksum <"$REQUIREMENTS" | cut -d ' ' -f 1)"; }

python_ready() { [ -e "$(venv_stamp)" ] && "$VENV/bin/python" -c 'import websockets, jwt, redis' 2>/dev/null; }

make_venv() {
  rm -rf "$VENV"
  python3 -m venv "$VENV" >"$log" 2>&1 &&
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check -r "$REQUIREMENTS" >"$log" 2>&1 &&
    touch "$(venv_stamp)"
}

# The tests are built with all features: that of Kafka builds a C library.
compilers_ready() { have make && have cc && have c++; }

setup_compilers() {
  compilers_ready && return
  install "make gcc g++ libc6-dev" "make gcc gcc-c++" "make gcc" || true
  compilers_ready || missing "make and C and C++ compilers: the client library of Kafka is built with them ($(why))"
}

setup_redis() {
  redis_ready && return
  install "redis-server redis-tools" "redis" "redis" || true
  # Fedora has moved to Valkey, which answers to the same names through a compatibility package.
  if ! redis_ready && [ "$(manager)" = dnf ]; then install "" "valkey valkey-compat-redis" "" || true; fi
  redis_ready && return
  if have redis-server; then
    missing "redis-server $REDIS_MAJOR_MIN or newer (found $(redis_major)): the tests of the Redis engines need it"
  else
    missing "redis-server $REDIS_MAJOR_MIN or newer ($(why))"
  fi
}

# program NAME: whether it is there, also where packages put what is not meant to be on the path.
program() {
  local each
  for each in "$1" /usr/lib/postgresql/*/bin/"$1" /usr/local/opt/*/bin/"$1" /opt/homebrew/opt/*/bin/"$1" /usr/sbin/"$1" /usr/libexec/"$1"; do
    if have "$each"; then return; fi
  done
  return 1
}

postgres_ready() { program postgres && program initdb && program psql; }

mariadb_ready() { program mariadbd && program mariadb-install-db && program mariadb; }

# The tests start servers of their own; what the packages may start is not touched.
setup_ledgers() {
  postgres_ready || install "postgresql" "postgresql-server" "postgresql" || true
  postgres_ready || missing "PostgreSQL: the tests of the ledger need it ($(why))"
  mariadb_ready || install "mariadb-server" "mariadb-server" "mariadb" || true
  mariadb_ready || missing "MariaDB: the tests of the ledger need it ($(why))"
}

setup_chromium() {
  chromium_ready && return
  install "chromium" "chromium" "--cask chromium" || true
  chromium_ready || note "missing: Chromium, so the walk through the pages is left out ($(why))"
}

setup_python() {
  python_ready && return
  if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    install "python3 python3-venv" "python3 python3-pip" "python" || true
  fi
  note "making $VENV with the Python clients of the acceptance test"
  make_venv || missing "Python 3 with websockets, PyJWT and redis in $VENV ($(why))"
}

# unpack PACKAGE PATH: one program out of a Debian package into the Python environment. Needs no root, and starts no
# service, which installing nginx or Prometheus would.
unpack() {
  if ! have apt-get || ! have dpkg-deb; then
    echo "no apt-get here" >"$log"
    return 1
  fi
  local folder
  folder=$(mktemp -d)
  if [ "$apt_lists_fresh" = 0 ]; then
    as_root apt-get update -q >"$log" 2>&1 || true
    apt_lists_fresh=1
  fi
  note "unpacking $1 into $VENV"
  (cd "$folder" && apt-get download -q "$1") >"$log" 2>&1 &&
    dpkg-deb -x "$folder"/*.deb "$folder/files" >>"$log" 2>&1 &&
    cp "$folder/files$2" "$VENV/bin/" >>"$log" 2>&1
  local rc=$?
  rm -rf "$folder"
  return "$rc"
}

nginx_ready() {
  local each
  for each in "$VENV/bin/nginx" nginx /usr/sbin/nginx; do
    if "$each" -v >/dev/null 2>&1; then return; fi
  done
  return 1
}

promtool_ready() { "$VENV/bin/promtool" --version >/dev/null 2>&1 || have promtool; }

# After setup_python, whose environment they go into.
setup_nginx() {
  nginx_ready && return
  unpack nginx /usr/sbin/nginx || install "nginx" "nginx" "nginx" || true
  nginx_ready || note "missing: nginx, so its gate is not tested ($(why))"
}

setup_promtool() {
  promtool_ready && return
  unpack prometheus /usr/bin/promtool || install "prometheus" "golang-github-prometheus" "prometheus" || true
  promtool_ready || note "missing: promtool, so metrics and alerts are not checked ($(why))"
}

axe_ready() { grep -qs "\"version\": *\"$AXE_VERSION\"" "$TOOLS/node_modules/axe-core/package.json"; }

# Checks pages for accessibility; run inside the Chromium of the tests, so npm is needed only to fetch it.
setup_axe() {
  axe_ready && return
  have npm || install "npm" "nodejs-npm" "node" || true
  note "fetching axe-core $AXE_VERSION into $TOOLS"
  mkdir -p "$TOOLS"
  npm install --prefix "$TOOLS" --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error \
    "axe-core@$AXE_VERSION" >"$log" 2>&1 || true
  axe_ready || note "missing: axe-core, so the pages are not checked for accessibility ($(why))"
}

have cargo || missing "cargo: install Rust from https://rustup.rs"
have cc || have gcc || have clang || install "build-essential" "gcc make" "gcc" || missing "a C compiler ($(why))"
have c++ || install "g++" "gcc-c++" "gcc" || note "missing: a C++ compiler, so nothing can be fuzzed ($(why))"
setup_compilers
setup_redis
setup_ledgers
setup_chromium
setup_python
setup_nginx
setup_promtool
setup_axe
exit "$fatal"
