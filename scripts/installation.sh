# One installation on this host: its data folder and what it was started with; source it after
# lib.sh. Sets DATA and exports CP_*; creates nothing until installation_open.
# shellcheck shell=bash

# What the scripts themselves read; never remembered, nor taken up.
_SCRIPT_ONLY='^CP_(DATA_DIR|VENV|TEST_[A-Z_]*)='
_MADE_FOLDER=no

# installation_find: where the data folder is. Reads nothing in it.
installation_find() {
  DATA=$(data_dir)
  case $DATA in
    /*) ;;
    *) die "CP_DATA_DIR must be an absolute path, not '$DATA'" ;;
  esac
  case $DATA/ in
    "$ROOT"/*) die "CP_DATA_DIR lies inside the checkout" "it holds secrets: choose a folder outside" ;;
  esac
  export CP_DATA_DIR=$DATA
}

# installation_lock: wait for whoever else is at work on the data folder, and keep others waiting until
# this script ends. Before anything in it is read: a first scripts/up takes minutes until it remembers
# what it was given, and who read before that would take it for another installation.
# Fails where the folder was removed meanwhile, and so the lock of those that come later is another.
installation_lock() {
  # >>: who waits writes nothing
  exec 9>>"$DATA/up.lock" || die "cannot write to the data folder $DATA"
  has flock || return 0
  # 2 s: what is over sooner is not worth a word
  flock -w 2 9 || {
    note "another scripts/up or scripts/down is at work on $DATA; waiting"
    flock -w 900 9 || die "another scripts/up or scripts/down is still at work on $DATA"
  }
  [ "$DATA/up.lock" -ef /proc/self/fd/9 ]
}

# installation_open: the data folder, made if there is none, and locked.
installation_open() {
  installation_find
  until
    make_data_folder
    installation_lock
  do :; done
}

# make_data_folder: or take an empty one; refuse a stranger's.
make_data_folder() {
  local found
  check_instance_name "${CP_INSTANCE:-bunker}"
  if [ ! -d "$DATA" ]; then
    mkdir -p "$DATA" 2>/dev/null || die "cannot make the data folder $DATA" \
      "choose one you may write to: CP_DATA_DIR=/path scripts/up"
    _MADE_FOLDER=yes
  fi
  # what is in it first: another scripts/up that just begins writes `installation` before the rest
  found=$(ls -A "$DATA")
  [ -f "$DATA/installation" ] || [ -z "$found" ] || [ "$found" = up.lock ] \
    || die "$DATA is not empty and not an installation's data folder" \
      "choose another: CP_DATA_DIR=/path scripts/up"
  chmod 700 "$DATA" || exit 1
}

check_instance_name() {
  [[ $1 =~ ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ ]] \
    || die "CP_INSTANCE must be lower case letters, digits and '-', not '$1'"
}

# installation_load [named]: take up remembered settings; what the environment says now wins. Needs
# the lock. With `named` the name that the folder has is its name before the first start, too.
installation_load() {
  if [ -f "$DATA/environment" ]; then
    load_remembered
  elif [ -L "$DATA/environment" ]; then
    die "$DATA/environment is a link to a file that isn't there: $(readlink "$DATA/environment")" \
      "with the defaults this may be another installation: bring that file back, or remove the link"
  fi
  installation_check_name "${1:-}"
  export CP_INSTANCE=${CP_INSTANCE:-bunker} CP_API_PORT=${CP_API_PORT:-8443}
  if [ -n "${CP_DOCKER_HOST:-}" ]; then export DOCKER_HOST=$CP_DOCKER_HOST; fi
}

# load_remembered: what `environment` says, as people leave it who edit it: with comments, without a
# newline at the end, with another system's line ends. Of two lines the later one holds, as for systemd;
# unlike there, a value is all that follows the `=`, quotes and blanks too. What is not understood is
# not passed over: whoever wrote it meant something.
load_remembered() {
  local line name lines number=0
  local -A kept=()
  # not `read`: after a letter in another encoding it takes two lines for one
  mapfile -t lines <"$DATA/environment"
  for line in "${lines[@]}"; do
    number=$((number + 1))
    line=${line%$'\r'}
    # no `.*` after it: that is no comment in another encoding
    if [[ $line =~ ^[[:space:]]*([#\;]|$) ]]; then continue; fi
    # not the line itself: it may hold a password
    [[ $line =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] \
      || die "line $number of $DATA/environment is no CP_NAME=value" "mend it there"
    if [[ $line =~ $_SCRIPT_ONLY ]]; then continue; fi
    kept[${line%%=*}]=${line#*=}
  done
  for name in "${!kept[@]}"; do
    if [ -z "${!name:-}" ]; then export "$name=${kept[$name]}"; fi
  done
}

# has_started: its control plane has, or may have. Before, nothing outside is its own, whatever the
# label says.
has_started() { [ -f "$DATA/environment" ] || [ -f "$DATA/control-plane.log" ]; }

# installation_check_name: once it has started, the name is for good, as all that it made carries it:
# under another one it would lose sight of that, and scripts/down --destroy would remove what is
# another installation's.
installation_check_name() {
  local kept=""
  has_started || [ "$1" = named ] || return 0
  [ -f "$DATA/installation" ] && kept=$(sed -n 's/^instance=//p' "$DATA/installation")
  [ -n "$kept" ] || kept=$(remembered CP_INSTANCE)
  [ -n "$kept" ] || return 0
  [ "${CP_INSTANCE:-$kept}" = "$kept" ] \
    || die "$DATA is the data folder of '$kept', not of '$CP_INSTANCE'" \
    "another one has a data folder of its own: CP_DATA_DIR=/path CP_INSTANCE=$CP_INSTANCE"
  CP_INSTANCE=$kept
}

# installation_create: say whose folder it is. Needs the lock.
installation_create() {
  local made=$_MADE_FOLDER
  check_instance_name "$CP_INSTANCE"
  if [ -f "$DATA/installation" ]; then
    made=$(sed -n 's/^made_folder=//p' "$DATA/installation")
  fi
  has_started || printf 'instance=%s\nmade_folder=%s\n' "$CP_INSTANCE" "$made" >"$DATA/installation"
}

# installation_engine: the control plane has the engine that the docker command has, by DOCKER_HOST
# or its context, and still has it when neither is set.
installation_engine() {
  local host=${DOCKER_HOST:-}
  if [ -n "${CP_DOCKER_HOST:-}" ]; then return 0; fi
  if [ -z "$host" ] && has docker; then
    host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || host=""
  fi
  case $host in
    "" | unix:///var/run/docker.sock) ;;
    *) export CP_DOCKER_HOST=$host ;;
  esac
}

# check_settings: refuses wrong ones before they are remembered, as each later run takes those up.
check_settings() {
  local why
  why=$(cd "$ROOT" && "$VENV/bin/python" - 2>&1 <<'PYTHON'
import sys
from controlplane.errors import ControlPlaneError
from controlplane.settings import Settings
try:
    Settings.from_env()
except ControlPlaneError as exc:
    sys.exit(str(exc))
PYTHON
  ) || die "$why" "it was given now, or is remembered in $DATA/environment: mend it there"
}

# with_settings FILE: prints its lines, each setting with the value it has now, and then the settings
# it lacks. Comments and what others have in it stay: it may be a unit's own.
with_settings() (
  # C: a value in another encoding is no text for grep, nor for a pattern
  export LC_ALL=C
  declare -A now=() written=()
  lines=()
  if [ -f "$1" ]; then mapfile -t lines <"$1" || exit; fi
  # not a name that no shell variable can have: it would end each later run
  mapfile -t settings < <(env | grep -E '^CP_[A-Za-z0-9_]*=' | grep -Ev "$_SCRIPT_ONLY" | sort)
  for line in "${settings[@]}"; do now[${line%%=*}]=${line#*=}; done
  for line in "${lines[@]}"; do
    line=${line%$'\r'}
    if [[ $line =~ ^(CP_[A-Za-z0-9_]*)= ]]; then
      name=${BASH_REMATCH[1]}
      if [ -n "${written[$name]:-}" ]; then continue; fi
      if [ -n "${now[$name]+set}" ]; then line=$name=${now[$name]} written[$name]=yes; fi
    fi
    printf '%s\n' "$line"
  done
  for line in "${settings[@]}"; do
    [ -n "${written[${line%%=*}]:-}" ] || printf '%s\n' "$line"
  done
)

# like_before FILE: FILE.new gets its mode and owner: a service's account may have to read it.
like_before() {
  [ -f "$1" ] || return 0
  chown "$(stat -c %u:%g "$1")" "$1.new" && chmod "$(stat -c %a "$1")" "$1.new"
}

installation_remember() {
  local now before="" file
  # where it is, if it is a link: people edit it there
  file=$(readlink -f "$DATA/environment")
  now=$(with_settings "$file")
  [ -f "$file" ] && before=$(cat "$file")
  [ "$now" = "$before" ] && return 0
  # whole or not at all: a full disk must not leave half of them
  { (umask 077 && printf '%s\n' "$now" >"$file.new") && like_before "$file" \
    && mv "$file.new" "$file"; } || die "cannot write $file, to remember the settings there"
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

# installation_listens: prints "ADDRESS PORT" of the control plane's API; one that runs has those it
# started with, whatever the settings are by now.
installation_listens() {
  if live_pid "$DATA/control-plane.pid" >/dev/null && [ -s "$DATA/control-plane.listens" ]; then
    cat "$DATA/control-plane.listens"
  else
    printf '%s %s\n' "${CP_API_ADDRESS:-127.0.0.1}" "$CP_API_PORT"
  fi
}

# code_is_newer FILE: whether what the control plane runs from has changed since FILE was written.
code_is_newer() {
  (cd "$ROOT" && find api controlplane drivers reconcilers resources -name '*.py' -newer "$1" \
    -print -quit | grep -q .)
}

# The label that everything this installation makes in the engine carries.
instance_filter() { printf 'label=bunker.cloud/instance=%s\n' "$CP_INSTANCE"; }

# ours KIND: ids of this installation's containers, networks or volumes.
ours() {
  case $1 in
    container) docker ps --all --quiet --filter "$(instance_filter)" ;;
    running) docker ps --quiet --filter "$(instance_filter)" ;;
    network) docker network ls --quiet --filter "$(instance_filter)" ;;
    volume) docker volume ls --quiet --filter "$(instance_filter)" ;;
  esac
}

# refuse_shared_name: before the first start, what has the name is another installation's. Each agent
# would sweep what the other one has, as no record of its own owns it.
refuse_shared_name() {
  local kind
  if has_started; then return 0; fi
  for kind in container network volume; do
    [ -z "$(ours "$kind")" ] || die \
      "the engine has ${kind}s of an installation '$CP_INSTANCE' whose data folder is not $DATA" \
      "to start that one: CP_DATA_DIR=/path scripts/up" \
      "another one beside it: CP_INSTANCE=other CP_API_PORT=9443 scripts/up" \
      "to remove all it has, with its data, where the folder is lost:" \
      "CP_INSTANCE=$CP_INSTANCE CP_DATA_DIR=/nowhere scripts/down --destroy"
  done
}

control_plane() { (cd "$ROOT" && "$VENV/bin/python" -m controlplane "$@"); }
