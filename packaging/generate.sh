#!/bin/sh
# Makes what packages hold beside the binary, below packaging/generated: the units
# of examples/service under the names and paths of the package, man pages, shell
# completions.
set -eu
cd "$(dirname "$0")/.."
out=packaging/generated
rm -rf "$out"
mkdir -p "$out/man" "$out/completions" "$out/systemd" .cache

# The flags are those of .goreleaser.yaml: nothing is compiled twice.
CGO_ENABLED=0 GOOS='' GOARCH='' go build -trimpath -buildvcs=true -tags nobadger,nomysql,nopgx -ldflags '-s -w' -o .cache/caddy-generate ./cmd/caddy
caddy=.cache/caddy-generate

# A packaged Caddy has the pages of its own commands.
"$caddy" manpage --directory .cache/man
mv .cache/man/caddy-dovecot-push*.8 "$out/man"
rm -rf .cache/man
gzip -9n "$out"/man/*.8

"$caddy" completion bash >"$out/completions/caddy.bash"
"$caddy" completion zsh >"$out/completions/_caddy"
"$caddy" completion fish >"$out/completions/caddy.fish"
rm "$caddy"

# From [Unit] on: what stands above tells how to install by hand. With the alias,
# "systemctl restart caddy" is this unit, also beside that of a packaged Caddy. Of the
# sockets it has the one on this machine alone, as fd/3.
for kind in service socket; do
	sed -e '/^\[Unit\]/,$!d' -e 's#/usr/local/bin/caddy#/usr/bin/caddy#' -e 's#caddy\.socket#caddy-dovecot-push.socket#' -e 's#^StateDirectory=caddy$#& caddy-dovecot-push#' \
		-e '/^# HTTPS\.$/d' -e '/^ListenStream=[0-9]*$/d' \
		-e "/^\[Install\]/a Alias=caddy.$kind" "examples/service/caddy.$kind" >"$out/systemd/caddy-dovecot-push.$kind"
done
