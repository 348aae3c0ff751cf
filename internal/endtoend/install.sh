#!/bin/sh
# Installs the other servers that tests of the whole talk to, as Debian packages:
# Apache, nginx and HAProxy, which stand in front of Caddy, and Prometheus for its
# promtool. Does nothing if all of it is there.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin

missing=
command -v apache2 >/dev/null || missing="$missing apache2-bin"
command -v nginx >/dev/null || missing="$missing nginx"
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v promtool >/dev/null || missing="$missing prometheus"
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || ../debian.sh $missing
