#!/bin/sh
# Starts PowerDNS on /data/pdns.sqlite3, which is made complete or not at all.
#
# PDNS_API_KEY_FILE or PDNS_API_KEY (needed): the key that the HTTP API asks for, in X-API-Key.
# PDNS_RESOLVER: who resolves the targets of ALIAS records; default: the container's own resolver.
# Options after `pdns_server` are added to the configuration's and win over it.
# Writable besides the data: /run/pdns (a tmpfs), where the configuration with the key lies.
set -eu

fail() { echo "entrypoint: $*" >&2; exit 1; }

[ "${1:-}" = pdns_server ] || exec "$@"
shift

if [ -n "${PDNS_API_KEY_FILE:-}" ]; then
  key=$(cat -- "$PDNS_API_KEY_FILE") || fail "cannot read PDNS_API_KEY_FILE"
else
  key=${PDNS_API_KEY:-}
fi
[ -n "$key" ] || fail "set PDNS_API_KEY_FILE (or PDNS_API_KEY): an API without a key is open to all"

# The first nameserver. An IPv6 address would need brackets, and Docker's own is IPv4.
resolver=${PDNS_RESOLVER:-$(sed -n 's/^nameserver[[:space:]]*//p' /etc/resolv.conf | head -n 1)}

database=/data/pdns.sqlite3
if [ ! -e "$database" ]; then
  rm -f "$database.new"
  sqlite3 "$database.new" < /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql
  mv "$database.new" "$database"
fi

umask 077
cat > /run/pdns/pdns.conf <<CONFIG
launch=gsqlite3,geoip
gsqlite3-database=$database
gsqlite3-dnssec=yes
# readers don't wait for a writer, and a key that was acknowledged survives a power cut
gsqlite3-pragma-journal-mode=WAL
gsqlite3-pragma-synchronous=2
geoip-database-files=/usr/share/GeoIP/GeoIP.dat /usr/share/GeoIP/GeoIPv6.dat
local-address=0.0.0.0
api=yes
api-key=$key
webserver=yes
webserver-address=0.0.0.0
webserver-port=8081
webserver-allow-from=0.0.0.0/0
# beside the API it shows statistics of who asks for what: not without the key either
webserver-password=$key
webserver-loglevel=none
# in MiB: a zone as large as a ConfigMap takes goes in one request, which is applied whole or not at all
webserver-max-bodysize=64
enable-lua-records=yes
edns-subnet-processing=yes
expand-alias=yes
resolver=${resolver:-127.0.0.11}
# the API forgets what it cached of a zone when records change, but not when the zone is made or
# its keys are: an answer from before lives on for so many seconds
cache-ttl=2
dnssec-key-cache-ttl=5
domain-metadata-cache-ttl=5
version-string=anonymous
security-poll-suffix=
socket-dir=/run/pdns
daemon=no
guardian=no
write-pid=no
disable-syslog=yes
log-timestamp=no
loglevel=4
CONFIG
# PowerDNS has no handler for SIGTERM, and process 1 is not ended by a signal without one: the shell
# stays process 1 and hands it on. SQLite's log makes any moment a safe one.
/usr/sbin/pdns_server --config-dir=/run/pdns "$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 0' TERM INT
wait "$child"
