#!/bin/sh
# Makes what a release consists of, without publishing or signing it, and installs,
# upgrades and removes its Debian package in root directories of Debian 12 and 13.
#
#	check.sh ["TARGETS"]
#
# TARGETS are those of .goreleaser.yaml to build; all of them if there are none.
# It needs root, goreleaser and cyclonedx-gomod, and the network for Debian packages.
set -eu
cd "$(dirname "$0")/.."
targets=${1-}
work=${RELEASE_CHECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/caddy-dovecot-push/release-check}
mkdir -p "$work" .cache

# limited prints the configuration with the targets that are its arguments.
limited() {
	[ $# -gt 0 ] || exec cat .goreleaser.yaml
	only=$(printf '|%s' "$@")
	sed -E "/^    targets:/,/^\$/{/^      - /{/- (${only#|})\$/!d}}" .goreleaser.yaml
}

# package VERSION TARGETS makes a release in the current directory. There is no
# container engine or identity to sign with: check looks at that configuration.
package() {
	version=$1
	shift
	limited "$@" >.cache/goreleaser.yaml
	SNAPSHOT_VERSION=$version goreleaser release --snapshot --clean --skip=sign,docker --config .cache/goreleaser.yaml
}

goreleaser check

# The version before: the last tag or, while there is none, an older commit. It is
# packaged in the way of today.
previous=$(git describe --tags --match 'v[0-9]*' --abbrev=0 HEAD^ 2>/dev/null || git rev-list --skip=30 --max-count=1 HEAD)
if [ ! -e "$work/old-$previous.deb" ]; then
	git worktree prune
	git worktree add --force --detach "$work/old" "$previous"
	cp -r .goreleaser.yaml packaging "$work/old/"
	cp docs/schema.json "$work/old/docs/"
	mkdir -p "$work/old/.cache"
	(cd "$work/old" && package 0.0.0 linux_amd64)
	cp "$work"/old/dist/*_amd64.deb "$work/old-$previous.deb"
	git worktree remove --force "$work/old"
fi
ln -f "$work/old-$previous.deb" "$work/old.deb"

# shellcheck disable=SC2086 # a list of words
package 0.0.1 $targets
ls -l dist
cp dist/*_linux_amd64.deb "$work/new.deb"

for suite in bookworm trixie; do
	./packaging/root.sh "$suite" "$work/$suite"
done
# A network of its own: Dovecot and Caddy take the ports that they have on a server.
RELEASE_CHECK=$work go test -count=1 -v -timeout 30m -run '^TestPackage' \
	-exec "$PWD/packaging/isolated.sh" ./internal/endtoend
