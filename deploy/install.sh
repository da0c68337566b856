#!/usr/bin/env bash
# Install Artifact on a machine with systemd: program, user, folders, credentials, units. A second time it brings
# program and units up to date and leaves configuration, credentials and data alone.
#
#   deploy/install.sh [--binary FILE] [--root DIR] [--no-start]
#
#   --binary FILE   the program [default: target/release/artifact]
#   --root DIR      install below DIR and start nothing: for images, and to look at what it does
#   --no-start      install and enable, start nothing
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$here/../target/release/artifact
root=
start=yes

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: %s\n' "$*" >&2; exit 1; }

while [ "$#" -gt 0 ]; do
    case $1 in
        --binary) [ "$#" -ge 2 ] || die "--binary needs a file"; binary=$2; shift 2 ;;
        --root) [ "$#" -ge 2 ] || die "--root needs a folder"; root=${2%/}; start=no; shift 2 ;;
        --no-start) start=no; shift ;;
        *) die "unknown argument $1; usage: install.sh [--binary FILE] [--root DIR] [--no-start]" ;;
    esac
done
[ "$(id -u)" -eq 0 ] || die "must be run as root"
[ -f "$binary" ] || die "$binary is not there: build it with 'cargo build --release --locked', or name it with --binary"
for program in systemd-sysusers systemd-tmpfiles openssl; do
    command -v "$program" >/dev/null || die "$program is missing"
done
[ -z "$root" ] || mkdir -p "$root/etc"

# A new program beside the old one, then in its place: one that runs is not written into.
install -D -m 0755 "$binary" "$root/usr/local/bin/artifact.new"
mv -f "$root/usr/local/bin/artifact.new" "$root/usr/local/bin/artifact"
# Alerts and units lead to these pages.
for page in "$here"/../docs/*.md; do
    [ ! -f "$page" ] || install -D -m 0644 "$page" "$root/usr/local/share/doc/artifact/$(basename "$page")"
done

install -D -m 0644 "$here/sysusers.d/artifact.conf" "$root/usr/lib/sysusers.d/artifact.conf"
install -D -m 0644 "$here/tmpfiles.d/artifact.conf" "$root/usr/lib/tmpfiles.d/artifact.conf"
systemd-sysusers --root="${root:-/}" artifact.conf
systemd-tmpfiles --root="${root:-/}" --create artifact.conf

configuration=$root/etc/artifact/artifact.toml
[ -e "$configuration" ] || install -m 0644 "$here/artifact.toml" "$configuration"

# Keys are hashed with this secret. It is made once and never replaced: without it no key is known any more. Where it is
# kept encrypted there is no plain file, and another secret beside it would be one that no key is known by.
secret=$root/etc/artifact/credentials/artifact-secret
if [ ! -s "$secret" ] && [ ! -s "$secret.encrypted" ]; then
    (umask 077 && openssl rand -hex 32 >"$secret.new" && mv "$secret.new" "$secret")
    say "made $secret: keep a copy of it with the backups, they do not hold it"
fi

units=$root/etc/systemd/system
for unit in "$here"/systemd/*.service "$here"/systemd/*.socket "$here"/systemd/*.timer; do
    install -D -m 0644 "$unit" "$units/$(basename "$unit")"
done

if [ -n "$root" ]; then
    say "installed below $root; nothing was started"
    exit 0
fi

systemctl daemon-reload
systemctl enable --quiet artifact.socket artifact.service artifact-backup.timer artifact-restore-drill.timer
say "installed $(/usr/local/bin/artifact version)"
[ "$start" = yes ] || exit 0

# The first key is made before the first start, so that it is shown here and not in the journal. The secret is lent to
# the command for that time, in memory.
if [ ! -e /var/lib/artifact/artifact.db ] && ! grep -q '^database_url' "$configuration"; then
    lent=$(mktemp -d /run/artifact-install.XXXXXX)
    trap 'rm -rf "$lent"' EXIT
    if [ -s "$secret" ]; then
        install -o artifact -m 0600 "$secret" "$lent/artifact-secret"
    else
        (umask 077 && systemd-creds decrypt --name=artifact-secret "$secret.encrypted" "$lent/artifact-secret")
        chown artifact "$lent/artifact-secret"
    fi
    chown artifact "$lent"
    say "the first admin key, shown once; keep it safe:"
    runuser -u artifact -- env CREDENTIALS_DIRECTORY="$lent" /usr/local/bin/artifact keys create --admin \
        --name first --config /etc/artifact/artifact.toml --data /var/lib/artifact
fi

systemctl start artifact.socket artifact-backup.timer artifact-restore-drill.timer
# `restart` and not `start`: a second time the new program has to take over. Connections wait in the socket.
systemctl restart artifact.service
say "running: $(systemctl show --property=StatusText --value artifact.service)"
