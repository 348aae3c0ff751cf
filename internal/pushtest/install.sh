#!/bin/sh
# Installs what the tests of Web Push, APNs and FCM need: Node.js, and with npm a
# push service and clients of APNs and FCM that were not made here. Does nothing if
# all of it is there.
set -eu
cd "$(dirname "$0")/independent"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	../../debian.sh nodejs npm
fi

# What npm installed, it lists here. The optional packages are clients of Google's
# databases and storage.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	npm ci --ignore-scripts --omit=optional --no-audit --no-fund
fi
