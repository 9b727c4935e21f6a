#!/bin/bash
# Starts PostgreSQL, initialising an empty data folder first.
#
# POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE (needed to initialise), POSTGRES_USER (postgres),
# POSTGRES_DB (= user), POSTGRES_INITDB_ARGS and PGDATA mean what they mean in the public image.
#
# Safe against being killed at any moment: everything is made in $PGDATA/.init, which counts only
# once it holds the file `complete`; it is then moved up, PG_VERSION last. A start that finds .init
# without `complete` begins again; with it, it goes on moving. Nothing outside .init is ever removed.
set -Eeuo pipefail
shopt -s dotglob nullglob

init=$PGDATA/.init

say() { printf '%s entrypoint: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }
fail() { say "$*"; exit 1; }

# As process 1 a shell ignores signals that it doesn't trap, and while it waits for a foreground
# command it does not run traps: so long steps run in the background.
child=
trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null; exit 143' INT TERM
run() { "$@" & child=$!; wait "$child"; child=; }

password_value() {
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    [ -z "${POSTGRES_PASSWORD:-}" ] || fail "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, not both"
    cat -- "$POSTGRES_PASSWORD_FILE" || fail "cannot read POSTGRES_PASSWORD_FILE"
  else
    printf '%s' "${POSTGRES_PASSWORD:-}"
  fi
}

initialise() {
  local entry password user=${POSTGRES_USER:-postgres} database
  database=${POSTGRES_DB:-$user}
  for entry in "$PGDATA"/*; do
    case ${entry##*/} in
      .init | lost+found) ;;
      *) fail "$PGDATA holds '${entry##*/}' but no PG_VERSION: not a data folder of ours, left alone" ;;
    esac
  done
  # from 18 on the volume is mounted above: data of another major lies there, or in its folder
  for entry in /var/lib/postgresql/PG_VERSION /var/lib/postgresql/{*,*/*}/PG_VERSION; do
    [ ! -e "$entry" ] || fail "$entry is of PostgreSQL $(cat "$entry"), this image is $PG_MAJOR: left \
alone; restore a dump into a new database"
  done
  password=$(password_value) || exit 1
  [ -n "$password" ] || fail "set POSTGRES_PASSWORD_FILE (or POSTGRES_PASSWORD): no password, no database"

  rm -rf "$init"
  mkdir -m 700 "$init"
  say "initialising PostgreSQL $PG_MAJOR"
  # shellcheck disable=SC2086  # INITDB_ARGS is a list of words by its contract
  run initdb -D "$init/data" --username="$user" --pwfile=<(printf '%s\n' "$password") \
    --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 \
    ${POSTGRES_INITDB_ARGS:-} >/dev/null
  printf 'host all all all scram-sha-256\n' >>"$init/data/pg_hba.conf"
  printf "listen_addresses = '*'\nunix_socket_directories = '/run/postgresql'\n" \
    >>"$init/data/postgresql.conf"
  if [ "$database" != postgres ]; then
    # Single-user mode: no server that a health probe could take for the real one.
    printf 'CREATE DATABASE "%s";\n' "${database//\"/\"\"}" |
      postgres --single -E -D "$init/data" postgres >/dev/null
    [ "$(database_count "$database")" = 1 ] || fail "cannot create database '$database'"
  fi
  sync -f "$init"
  : >"$init/complete"
  sync -f "$init"
}

# How many databases have that name (1 or 0), read in single-user mode, which has no exit status.
database_count() {
  printf "SELECT 'found:' || count(*) AS n FROM pg_database WHERE datname = '%s';\n" "${1//\'/\'\'}" |
    postgres --single -D "$init/data" postgres | sed -n 's/.*"found:\([0-9]*\)".*/\1/p' | head -n 1
}

take_into_use() {
  local entry
  for entry in "$init"/data/*; do
    [ "${entry##*/}" = PG_VERSION ] || mv -- "$entry" "$PGDATA/"
  done
  sync -f "$PGDATA"
  [ ! -e "$init/data/PG_VERSION" ] || mv -- "$init/data/PG_VERSION" "$PGDATA/"
  sync -f "$PGDATA"
}

if [ "$(id -u)" = 0 ]; then
  install -d -o postgres -g postgres -m 700 "$PGDATA"
  find "$PGDATA" /run/postgresql ! -user postgres -exec chown postgres:postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups --no-new-privs -- "$0" "$@"
fi

[ "${1:-postgres}" = postgres ] || [ "${1#-}" != "$1" ] || exec "$@"
[ "${1:-postgres}" = postgres ] || set -- postgres "$@"

mkdir -p "$PGDATA"
chmod 700 "$PGDATA" 2>/dev/null || true
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  [ -e "$init/complete" ] || initialise
  take_into_use
fi
[ ! -e "$init" ] || rm -rf "$init"
found=$(cat "$PGDATA/PG_VERSION")
[ "$found" = "$PG_MAJOR" ] || fail "the data folder is of PostgreSQL $found, this image is $PG_MAJOR: \
restore a dump into a new database"
trap - INT TERM
exec "$@"
