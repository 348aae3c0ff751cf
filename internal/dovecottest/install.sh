#!/bin/sh
# Installs what the tests need, as Debian packages: the Dovecot that they start,
# in whatever version the distribution has; the C compiler that Go's race
# detector needs; curl. Does nothing if all of it is there.
set -eu
PATH=$PATH:/usr/sbin:/sbin

complete() {
	command -v dovecot && command -v doveadm && [ -x /usr/lib/dovecot/lmtp ] && [ -x /usr/lib/dovecot/imap ] &&
		command -v gcc && command -v curl
} >/dev/null

complete && exit 0

packages='dovecot-core dovecot-imapd dovecot-lmtpd gcc libc6-dev curl'
as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root='sudo -n'
	if ! $as_root true 2>/dev/null; then
		echo "$0: Dovecot, gcc or curl is missing, and this is neither root nor may it use sudo without a password." >&2
		echo "$0: run as root: apt-get install $packages" >&2
		exit 1
	fi
fi
if ! command -v apt-get >/dev/null; then
	echo "$0: Dovecot, gcc or curl is missing, and there is no apt-get: install them, Dovecot with IMAP and LMTP." >&2
	exit 1
fi

echo "installing $packages (the tests do not use the service that they start)"
$as_root apt-get update -q
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
if ! complete; then
	echo "$0: the packages are installed, but Dovecot with IMAP and LMTP, gcc or curl is still missing." >&2
	exit 1
fi
