#!/bin/sh
# Installs what the tests of Web Push and APNs need: Node.js, and with npm a push
# service and a client of APNs that were not made here. Does nothing if all of it
# is there.
set -eu
cd "$(dirname "$0")/independent"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	../../debian.sh nodejs npm
fi

# What npm installed, it lists here.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund
fi
