#!/bin/sh
# Installs the Apache that tests compare with, as a Debian package. It has no
# service: tests start it themselves. Does nothing if it is there.
set -eu
cd "$(dirname "$0")"
[ -x /usr/sbin/apache2 ] || ../debian.sh apache2-bin
