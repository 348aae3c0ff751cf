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

if [ -n "$missing" ]; then
	as_root=
	if [ "$(id -u)" -ne 0 ]; then
		as_root='sudo -n'
		if ! $as_root true 2>/dev/null; then
			echo "$0: this is neither root nor may it use sudo without a password." >&2
			echo "$0: run as root: apt-get install$missing" >&2
			exit 1
		fi
	fi
	if ! command -v apt-get >/dev/null; then
		echo "$0: there is no apt-get: install$missing some other way." >&2
		exit 1
	fi
	echo "installing$missing"
	$as_root apt-get update -q
	# shellcheck disable=SC2086 # a list of words
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

# What npm installed, it lists here.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund
fi
