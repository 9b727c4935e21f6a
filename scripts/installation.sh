# One installation on this host: its data folder and what it was started with; source it after
# lib.sh. Sets DATA and exports CP_*; creates nothing until installation_create.
# shellcheck shell=bash

# What the scripts themselves read; never remembered.
_SCRIPT_ONLY='^CP_(DATA_DIR|VENV|TEST_[A-Z_]*)='

# installation_load: find the data folder and take up remembered settings. What the environment
# says now wins.
installation_load() {
  DATA=$(data_dir)
  case $DATA in
    /*) ;;
    *) die "CP_DATA_DIR must be an absolute path, not '$DATA'" ;;
  esac
  case $DATA/ in
    "$ROOT"/*) die "CP_DATA_DIR lies inside the checkout" "it holds secrets: choose a folder outside" ;;
  esac
  export CP_DATA_DIR=$DATA
  local line name
  if [ -f "$DATA/environment" ]; then
    while IFS= read -r line; do
      name=${line%%=*}
      if [ -n "$name" ] && [ -z "${!name:-}" ]; then export "$name=${line#*=}"; fi
    done <"$DATA/environment"
  fi
  export CP_INSTANCE=${CP_INSTANCE:-bunker} CP_API_PORT=${CP_API_PORT:-8443}
  if [ -n "${CP_DOCKER_HOST:-}" ]; then export DOCKER_HOST=$CP_DOCKER_HOST; fi
}

# installation_create: make the data folder, or take an empty one; refuse a stranger's.
installation_create() {
  local made=no
  if [ ! -d "$DATA" ]; then
    mkdir -p "$DATA" 2>/dev/null || die "cannot make the data folder $DATA" \
      "choose one you may write to: CP_DATA_DIR=/path scripts/up"
    made=yes
  fi
  if [ ! -f "$DATA/installation" ]; then
    [ -z "$(ls -A "$DATA")" ] || die "$DATA is not empty and not an installation's data folder" \
      "choose another: CP_DATA_DIR=/path scripts/up"
    printf 'made_folder=%s\n' "$made" >"$DATA/installation"
  fi
  chmod 700 "$DATA"
}

installation_remember() {
  local now before=""
  now=$(env | grep -E '^CP_' | grep -Ev "$_SCRIPT_ONLY" | sort)
  [ -f "$DATA/environment" ] && before=$(cat "$DATA/environment")
  [ "$now" = "$before" ] && return 0
  (umask 077 && printf '%s\n' "$now" >"$DATA/environment")
  if live_pid "$DATA/control-plane.pid" >/dev/null; then
    note "settings changed; they take effect after: scripts/down && scripts/up"
  fi
}

# port_is_free ADDRESS PORT: whether the API could listen there; says why not.
port_is_free() {
  "$VENV/bin/python" - "$@" <<'PYTHON'
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
ipv6 = ":" in address
with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET) as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ipv6:  # as asyncio does
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        probe.bind((address, port))
    except (OSError, OverflowError) as exc:
        sys.exit(str(exc))
PYTHON
}

# code_is_newer FILE: whether what the control plane runs from has changed since FILE was written.
code_is_newer() {
  (cd "$ROOT" && find api controlplane drivers reconcilers resources -name '*.py' -newer "$1" \
    -print -quit | grep -q .)
}

# The label that everything this installation makes in the engine carries.
instance_filter() { printf 'label=bunker.cloud/instance=%s\n' "$CP_INSTANCE"; }

control_plane() { (cd "$ROOT" && "$VENV/bin/python" -m controlplane "$@"); }
