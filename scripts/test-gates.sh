#!/usr/bin/env bash
# The gates of deploy/gates, all three: installs Traefik and Envoy into the Python environment and runs the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked -p queue-server
.venv/bin/python -m pip install -q --disable-pip-version-check -r tests/gates/requirements.txt
exec .venv/bin/python tests/gates/gates.py --bin-dir "${CARGO_TARGET_DIR:-target}/debug" nginx traefik envoy
