#!/bin/sh
# Starts Redis as its own user. SIGTERM saves what the configuration says and ends (Redis' own way).
# Only options or a file (`--port 1`, `/run/secrets/redis.conf`) stand for `redis-server` with them.
set -eu
case ${1:-} in
  "" | -* | *.conf) set -- redis-server "$@" ;;
esac
umask 077
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find /data ! -user redis -exec chown redis:redis {} +
  exec setpriv --reuid=redis --regid=redis --init-groups --no-new-privs -- "$@"
fi
exec "$@"
