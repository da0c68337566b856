#!/usr/bin/env bash
# Run a command beside a scratch PostgreSQL server, and leave nothing behind.
#
#   scripts/with-postgres.sh cargo test --test suite
#
# The command finds the server in ARTIFACT_TEST_POSTGRES. The exit code is the command's, or 69 when there
# is no server to be had: tests must not pass by having nothing to talk to.
set -euo pipefail

readonly UNAVAILABLE=69
say() { printf 'with-postgres: %s\n' "$*" >&2; }

if [ "$#" -eq 0 ]; then
    say "usage: scripts/with-postgres.sh COMMAND [ARGUMENT...]"
    exit 64
fi

# The programs of the newest installed version. Debian keeps initdb and pg_ctl out of PATH, others do not.
bin=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
[ -x "$bin" ] || bin=$(command -v initdb || true)
if [ -z "$bin" ]; then
    say "no PostgreSQL server found: 'make needs' installs one"
    exit "$UNAVAILABLE"
fi
bin=$(dirname "$bin")

scratch=$(mktemp -d "${TMPDIR:-/tmp}/artifact-postgres.XXXXXX")
command_pid=

# The server refuses to run as root. Started inside the scratch folder, because the folder we were called
# from may be closed to that other user.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd "$scratch" && exec runuser -u postgres -- "$@")
    else
        (cd "$scratch" && exec "$@")
    fi
}

clean_up() {
    local code=$?
    # A second signal must not interrupt this.
    trap '' HUP INT TERM
    trap - EXIT
    # Also what the command left running: it would only find its server gone.
    if [ -n "$command_pid" ]; then
        kill -TERM -- "-$command_pid" 2>/dev/null || true
        for _ in {1..20}; do
            kill -0 -- "-$command_pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$command_pid" 2>/dev/null || true
    fi
    # pg_ctl takes the process id from the data folder, so it cannot hit another server. Nothing in it is
    # worth a checkpoint: immediate.
    if [ -e "$scratch/data/postmaster.pid" ]; then
        as_owner "$bin/pg_ctl" stop -D "$scratch/data" -m immediate -t 30 >/dev/null ||
            say "the server in $scratch did not stop"
    fi
    rm -rf "$scratch"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

give_up() {
    say "$1"
    [ ! -e "$scratch/log" ] || cat "$scratch/log" >&2
    exit "$UNAVAILABLE"
}

if [ "$(id -u)" -eq 0 ]; then
    id postgres >/dev/null 2>&1 || give_up "running as root needs a user 'postgres' to run the server as"
    chown postgres "$scratch"
fi

# Where the server can, it sorts text as people do and not by bytes, as most servers in the field do: a
# query that leaves its order to the database then differs from SQLite here and not at a user's.
locale=(--no-locale)
if "$bin/initdb" --help | grep -- --icu-locale >/dev/null; then
    locale+=(--locale-provider=icu --icu-locale=en-US)
fi
as_owner "$bin/initdb" -D "$scratch/data" -U postgres -A trust -E UTF8 --no-sync "${locale[@]}" \
    >"$scratch/initdb.log" 2>&1 || { mv "$scratch/initdb.log" "$scratch/log"; give_up "initdb failed"; }

# The folder of the Unix socket is the scratch one, because the usual one belongs to the system's own server.
# Each test has a database of a thousand files of its own, and whoever drops one waits until all that was
# written since the last checkpoint is on disk: with fsync that was 29,349 files and 75 s. No test cuts the
# server's power: what it loses without fsync is lost to nobody here.
cat >>"$scratch/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$scratch'
max_connections = 200
fsync = off
CONF

# Only the server itself can tell for certain whether a port is free, so ask it. Below 32768, where the
# kernel takes no ports for outgoing connections.
port=
for _ in {1..20}; do
    candidate=$((20000 + RANDOM % 12000))
    as_owner rm -f "$scratch/log"
    if as_owner "$bin/pg_ctl" start -D "$scratch/data" -l "$scratch/log" -o "-p $candidate" -w -t 60 \
        >/dev/null 2>&1; then
        port=$candidate
        break
    fi
    # Any other trouble will not go away with another port.
    grep -q 'could not bind' "$scratch/log" 2>/dev/null || give_up "the server did not start"
done
[ -n "$port" ] || give_up "found no free port"

export ARTIFACT_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port/postgres"

# In a process group of its own, so that a signal to this script ends everything the command started; and
# awaited in the background, because bash runs no trap while it waits for a command in the foreground.
set -m
"$@" <&0 &
command_pid=$!
set +m
code=0
wait "$command_pid" || code=$?
exit "$code"
