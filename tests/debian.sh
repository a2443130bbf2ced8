#!/usr/bin/env bash
# A server of Debian's PostgreSQL 15 with pg_cron, plpython3u, pgcrypto, pg_stat_statements and pgTAP, for `make test-all`.
#
#   tests/debian.sh start [DIRECTORY]   install what is missing, start the server, print its URL
#   tests/debian.sh url   [DIRECTORY]   print the URL of the running server
#   tests/debian.sh stop  [DIRECTORY]   stop the server and delete it
#
# The server is a cluster of its own in DIRECTORY (default: one below /tmp for each checkout and user); Debian's default
# cluster is never touched. Only the URL goes to stdout. Each command may be repeated.
# Its time zone is not UTC and its collation not that of code points, so that a run notices what depends on either.
set -euo pipefail

PACKAGES=(postgresql-15 postgresql-15-cron postgresql-plpython3-15 postgresql-15-pgtap python3-requests)
PROGRAMS=/usr/lib/postgresql/15/bin
ROOT=$(cd "$(dirname "$0")/.." && pwd -P)

# shellcheck source=tests/packages.sh
source "$(dirname "$0")/packages.sh"

# PostgreSQL does not run as root.
as_owner() {
    if ((EUID == 0)); then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

port() {
    sed -n 4p "$DIRECTORY/data/postmaster.pid" # what its fourth line is
}

is_running() {
    [[ -e $DIRECTORY/data/postmaster.pid ]] && "$PROGRAMS/pg_isready" --quiet --host 127.0.0.1 --port "$(port)"
}

print_url() {
    is_running || fail "no server in $DIRECTORY; run: tests/debian.sh start"
    echo "postgresql://postgres@127.0.0.1:$(port)/postgres"
}

free_port() {
    /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

make_cluster() {
    mkdir -p "$(dirname "$DIRECTORY")"
    mkdir -m 700 "$DIRECTORY"
    touch "$DIRECTORY/made_by_tests_debian_sh"
    mkdir "$DIRECTORY/socket"
    ((EUID != 0)) || chown -R postgres: "$DIRECTORY"
    as_owner "$PROGRAMS/initdb" --pgdata "$DIRECTORY/data" --username postgres --auth trust --no-sync \
        --encoding UTF8 --locale C.UTF-8 --locale-provider icu --icu-locale en-US >/dev/null
    # pg_cron's launcher wants its database from the first start on.
    as_owner "$PROGRAMS/postgres" --single -D "$DIRECTORY/data" postgres <<<'CREATE DATABASE pggit_cron' >/dev/null 2>&1
    as_owner tee -a "$DIRECTORY/data/postgresql.conf" >/dev/null <<CONFIGURATION
listen_addresses = '127.0.0.1'
port = $(free_port)
unix_socket_directories = '$DIRECTORY/socket'
shared_preload_libraries = 'pg_cron,pg_stat_statements'
cron.database_name = 'pggit_cron'
cron.host = '127.0.0.1'
timezone = 'Asia/Kolkata'
fsync = off
full_page_writes = off
synchronous_commit = off
CONFIGURATION
}

start() {
    if is_running; then
        return
    fi
    install_packages
    remove
    trap remove EXIT # unless all goes well
    make_cluster >&2
    as_owner "$PROGRAMS/pg_ctl" start --silent --wait --timeout 60 -D "$DIRECTORY/data" --log "$DIRECTORY/log" \
        </dev/null >&2 || {
        tail -n 20 "$DIRECTORY/log" >&2
        fail "PostgreSQL does not start; the end of its log is above"
    }
    trap - EXIT
}

# Stop and delete; nothing that this script did not make.
remove() {
    [[ -e $DIRECTORY ]] || return 0
    [[ -e $DIRECTORY/made_by_tests_debian_sh ]] ||
        fail "$DIRECTORY exists and was not made by this script; name another directory"
    if is_running; then
        as_owner "$PROGRAMS/pg_ctl" stop --silent --mode immediate -D "$DIRECTORY/data" >&2
    fi
    rm -rf "$DIRECTORY"
}

PATH=$PATH:/usr/sbin:/sbin
COMMAND=${1:-}
DIRECTORY=$(realpath -m "${2:-/tmp/pggit-debian-$(id -u)-$(cksum <<<"$ROOT" | cut -d ' ' -f 1)}")
cd / # a directory that every user may be in

case $COMMAND in
    start)
        start
        print_url
        ;;
    url) print_url ;;
    stop) remove ;;
    *)
        echo "usage: tests/debian.sh start|stop|url [DIRECTORY]" >&2
        exit 2
        ;;
esac
