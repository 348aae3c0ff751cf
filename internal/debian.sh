#!/bin/sh
# Installs the Debian packages that are its arguments, as root or with sudo. What
# tests need is installed with it. No service of theirs is started, now or when the
# machine starts again: tests start what they need themselves, on addresses of
# their own.
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

# Packages ask this file whether they may start their services. One that is there
# already is the machine's own, and decides.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
	trap '$as_root rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
fi

installed() {
	dpkg-query -W -f '${Package}\n' | sort -u
}

echo "installing $*"
before=$(installed)
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"

command -v systemctl >/dev/null || exit 0
for package in $(installed); do
	case "
$before
" in *"
$package
"*) continue ;; esac
	for unit in $(dpkg-query -L "$package" | sed -n 's#^\(/usr\)\?/lib/systemd/system/\([^/]*\.\(service\|socket\|timer\|path\)\)$#\2#p'); do
		$as_root systemctl disable --quiet "$unit" || true
	done
done
