"""What runs in the cloud that is asked about Pods."""

from typing import Any

from tests.e2e import records
from tests.e2e.cloud import Json

NS = "pods"
WEB, TALKER, DB = "app-web-0", "app-talker-0", "database-pg"
# a line each 0.2 s on standard output; every tenth on standard error
TALK = """
i=0
while true; do
  echo line $i
  [ $((i % 10)) = 9 ] && echo err $i >&2
  i=$((i + 1)); sleep 0.2
done"""


def web(**more: Any) -> Json:
    """A web server that says when it starts."""
    serve = "echo started; exec python3 -m http.server 8080 --directory /tmp"
    return records.app("web", NS, replicas=2, command=["sh", "-c", serve], **more)
