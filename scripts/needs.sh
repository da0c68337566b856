#!/usr/bin/env bash
# Install what is missing of scripts/needs.txt, asking nobody anything.
#
#   scripts/needs.sh test
#   scripts/needs.sh check
#
# Fails when something cannot be had: no test is passed over because its program is not there.
set -euo pipefail

say() { printf 'needs: %s\n' "$*" >&2; }

if [ "$#" -ne 1 ]; then
    say "usage: scripts/needs.sh test|check"
    exit 64
fi
list=$(dirname "${BASH_SOURCE[0]}")/needs.txt

# Packages whose program is not there. Debian keeps some programs where only root's PATH looks.
PATH=$PATH:/usr/sbin:/sbin
missing() {
    local purpose program package _
    while read -r purpose program package _; do
        [ "$purpose" = "$1" ] || continue
        case $program in
            /*) compgen -G "$program" >/dev/null || echo "$package" ;;
            *) command -v "$program" >/dev/null || echo "$package" ;;
        esac
    done <"$list" | sort -u
}

mapfile -t packages < <(missing "$1")
[ "${#packages[@]}" -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    say "missing, and there is no apt-get here: ${packages[*]}"
    exit 1
fi
as_root=(env)
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "run 'apt-get install ${packages[*]}' as root, or this as a user with sudo"
        exit 1
    fi
    as_root=(sudo env)
fi
"${as_root[@]}" apt-get update
"${as_root[@]}" DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${packages[@]}"

mapfile -t packages < <(missing "$1")
if [ "${#packages[@]}" -gt 0 ]; then
    say "installed, and their programs are still not there: ${packages[*]}"
    exit 1
fi
