#!/bin/sh
# Installs what shows text as receivers of webhooks do: Node.js, and with npm
# their parsers. Does nothing if all of it is there.
set -eu
cd "$(dirname "$0")"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	../../../debian.sh nodejs npm
fi

# What npm installed, it lists here.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund
fi
