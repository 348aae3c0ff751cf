#!/bin/sh
# Installs the Debian packages that are its arguments, as root or with sudo. What
# tests need is installed with it.
set -eu

as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root='sudo -n'
	if ! $as_root true 2>/dev/null; then
		echo "$0: packages are missing, and this is neither root nor may it use sudo without a password." >&2
		echo "$0: run as root: apt-get install $*" >&2
		exit 1
	fi
fi
if ! command -v apt-get >/dev/null; then
	echo "$0: there is no apt-get: install $* some other way, and run this again." >&2
	exit 1
fi
echo "installing $*"
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
