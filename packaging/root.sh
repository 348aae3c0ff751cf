#!/bin/sh
# Makes a Debian root directory for the check of the package, if it is not there:
# what a mail server has before, and the packaged Caddy, not installed.
#
#	root.sh SUITE /ABSOLUTE/DIRECTORY
set -eu
suite=$1 root=$2
[ ! -e "$root/complete" ] || exit 0
rm -rf "$root"
command -v debootstrap >/dev/null || "$(dirname "$0")/../internal/debian.sh" debootstrap
debootstrap --variant=minbase --include=systemd,dovecot-imapd,dovecot-lmtpd,debconf,libnss3-tools,media-types "$suite" "$root"
chroot "$root" sh -c 'cd /var/cache/apt/archives && apt-get update -q && apt-get download -q caddy && mv caddy_*.deb /root/caddy.deb'
chroot "$root" useradd --create-home --groups mail alice
echo alice:pass | chroot "$root" chpasswd
grep -qs 127.0.0.1 "$root/etc/hosts" || echo '127.0.0.1 localhost' >"$root/etc/hosts"
touch "$root/complete"
