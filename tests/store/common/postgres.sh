#!/bin/sh
# Serves a new PostgreSQL on loopback until standard input ends, and leaves nothing: postgres.sh PORT
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
if [ -z "$bin" ]; then
    echo "these tests need PostgreSQL: apt-get install postgresql" >&2
    exit 1
fi
dir=$(mktemp -d)
as=
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to be run by root.
    as="setpriv --reuid=postgres --regid=postgres --init-groups"
    chown postgres "$dir"
fi
cd "$dir"
$as "$bin/initdb" -D "$dir/data" -U postgres --auth=trust --no-sync --locale=C --encoding=UTF8 >"$dir/log" 2>&1 || {
    cat "$dir/log" >&2
    exit 1
}
$as "$bin/postgres" -D "$dir/data" -p "$1" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c max_connections=500 -c fsync=off -c full_page_writes=off -c synchronous_commit=off >>"$dir/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT "$server"
wait "$server" || true
rm -rf "$dir"
