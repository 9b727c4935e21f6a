#!/bin/bash
# Starts the three parts; when one ends, all end, and the engine starts the container again.
# MAIL_HOST: the server's own name, as other servers see it. Default: mail.localdomain
set -euo pipefail
host=${MAIL_HOST:-mail.localdomain}
umask 022
rm -rf /run/postfix /run/guard
lib=/usr/local/lib/mail

install -d -m 755 /data/postfix -o postfix
# Postfix' processes keep no group but their own: it is the one that reads the database.
install -d -m 770 -o root -g postfix /data/db
install -d -m 700 -o vmail -g vmail /data/mail
install -d -m 750 -o guard -g postfix /run/guard
install -d -m 755 /data/tls /data/spool
umask 007
python3 "$lib/maildb.py"
umask 022
# A certificate of its own until a real one is put there; made anew when the name changes.
if ! openssl x509 -in /data/tls/cert.pem -noout -checkhost "$host" 2>/dev/null | grep -q 'does match'; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj "/CN=$host" -addext "subjectAltName=DNS:$host,DNS:mail" \
    -keyout /data/tls/key.new -out /data/tls/cert.new 2>/dev/null
  mv /data/tls/key.new /data/tls/key.pem
  mv /data/tls/cert.new /data/tls/cert.pem
fi
chmod 600 /data/tls/key.pem
# The image itself is read-only.
export MAIL_CONFIG=/run/postfix
cp -r /etc/postfix "$MAIL_CONFIG"
rm -f "$MAIL_CONFIG/makedefs.out"
postconf -e "myhostname = $host" "mydomain = ${host#*.}"
rm -f /data/spool/pid/*
postfix check

trap 'kill $(jobs -p) 2>/dev/null; wait; exit 0' TERM INT
setpriv --reuid=guard --regid=postfix --init-groups \
  sh -c "umask 007; exec python3 $lib/guard.py" &
dovecot -F &
postfix start-fg &
wait -n || true
echo "one of guard, dovecot and postfix has ended" >&2
kill $(jobs -p) 2>/dev/null || true
wait
exit 1
