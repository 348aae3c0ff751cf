#!/bin/sh
# Installs what makes the file systems whose power is cut, as Debian packages. Does
# nothing if all of it is there.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin

missing=
command -v mkfs.ext4 >/dev/null || missing="$missing e2fsprogs"
command -v mkfs.xfs >/dev/null || missing="$missing xfsprogs"
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || ../debian.sh $missing
