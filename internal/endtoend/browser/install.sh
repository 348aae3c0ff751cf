#!/bin/sh
# Installs what the tests in browsers need: Chromium and Firefox as Debian
# packages, a font, and with npm the checks for accessibility. Does nothing if
# all of it is there.
set -eu
cd "$(dirname "$0")"

missing=
command -v chromium >/dev/null || missing="$missing chromium"
command -v firefox-esr >/dev/null || missing="$missing firefox-esr"
[ -n "$(find /usr/share/fonts -name '*.[to]tf' -print -quit 2>/dev/null)" ] || missing="$missing fonts-dejavu-core"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || ../../debian.sh $missing

# What npm installed, it lists here.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund
fi
