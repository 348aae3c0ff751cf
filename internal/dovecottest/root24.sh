#!/bin/sh
# Makes a Debian root directory with Dovecot 2.4 and Pigeonhole for the tests, if
# it is not there:
#
#	root24.sh DIRECTORY
#	export DOVECOT_24_ROOT=DIRECTORY
#
# It needs some 300 MB, on a file system that allows devices and programs.
set -eu
PATH=$PATH:/usr/sbin:/sbin

case ${1-} in
/*) root=$1 ;;
*) echo "usage: $0 /ABSOLUTE/DIRECTORY" >&2; exit 2 ;;
esac

as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root='sudo -n'
	if ! $as_root true 2>/dev/null; then
		echo "$0: this needs root, or a sudo that asks no password" >&2
		exit 1
	fi
fi

release() {
	$as_root chroot "$root" dovecot --version 2>/dev/null
}

case $(release) in
2.4.*)
	if ! [ -e "$root/usr/bin/sievec" ]; then
		$as_root chroot "$root" sh -c 'apt-get update -q && apt-get install -q -y --no-install-recommends dovecot-sieve'
	fi
	echo "$root has Dovecot $(release)"
	exit 0
	;;
esac
if [ -e "$root" ] && [ -n "$(ls -A "$root")" ]; then
	echo "$0: $root is not empty and has no Dovecot 2.4 that runs: remove it first" >&2
	exit 1
fi

if ! command -v debootstrap >/dev/null; then
	"$(dirname "$0")/../debian.sh" debootstrap
fi
echo "making $root: Debian trixie with Dovecot 2.4"
if ! $as_root debootstrap --variant=minbase --include=dovecot-core,dovecot-imapd,dovecot-lmtpd,dovecot-sieve trixie "$root"; then
	echo "$0: debootstrap failed, see $root/debootstrap/debootstrap.log" >&2
	exit 1
fi
# Dovecot looks up the names in the URLs of its drivers.
[ -s "$root/etc/hosts" ] || echo '127.0.0.1 localhost' | $as_root tee "$root/etc/hosts" >/dev/null
case $(release) in
2.4.*) echo "$root has Dovecot $(release)" ;;
*)
	echo "$0: $root was made, but the dovecot in it does not run" >&2
	exit 1
	;;
esac
