#!/bin/sh
# Installs what the tests of Web Push need: Node.js, and with npm a push
# service that was not made here. Does nothing if all of it is there.
set -eu
cd "$(dirname "$0")/independent"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	as_root=
	if [ "$(id -u)" -ne 0 ]; then
		as_root='sudo -n'
	fi
	if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
		echo "$0: Node.js or npm is missing. Install Node.js 20 or later with npm, and run this again." >&2
		exit 1
	fi
	echo "installing nodejs npm"
	$as_root apt-get update -q
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends nodejs npm
fi

# What npm installed, it lists here.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund
fi
