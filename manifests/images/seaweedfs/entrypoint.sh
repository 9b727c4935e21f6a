#!/bin/sh
# Starts `weed` with certificates for its inner ports, made anew at each start, in memory.
set -eu
umask 077
. /usr/local/bin/weed-env.sh
rm -rf "$TLS"
mkdir "$TLS"
cd "$TLS"
curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# shellcheck disable=SC2086  # $curve is a list of words
{
  openssl req -x509 $curve -days 3650 -subj /CN=weed -keyout ca.key -out ca.pem
  openssl req $curve -subj /CN=part -keyout part.key -out part.csr
  openssl x509 -req -in part.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out part.pem
} 2>/dev/null
rm ca.key
cd /data
exec weed -logtostderr=true "$@"
