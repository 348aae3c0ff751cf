#!/bin/sh
# Installs what the tests need, as Debian packages: the Dovecot that they start,
# in whatever version the distribution has, and Pigeonhole; the C compiler that
# Go's race detector needs; curl. Does nothing if all of it is there.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin

complete() {
	command -v dovecot && command -v doveadm && [ -x /usr/lib/dovecot/lmtp ] && [ -x /usr/lib/dovecot/imap ] && command -v sievec &&
		command -v gcc && command -v curl
} >/dev/null

complete && exit 0
../debian.sh dovecot-core dovecot-imapd dovecot-lmtpd dovecot-sieve gcc libc6-dev curl
if ! complete; then
	echo "$0: the packages are installed, but Dovecot with IMAP, LMTP and Sieve, gcc or curl is still missing." >&2
	exit 1
fi
