# Shared by the scripts in this folder; source it, don't run it. Defines functions and names only.
# shellcheck shell=bash

# CDPATH: with one that leads here, cd prints where it went, or goes elsewhere
ROOT=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${CP_VENV:-$ROOT/.venv}

say() { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  for line in "$@"; do note "$line"; done
  exit 1
}

# print_help: the comment that a script begins with.
print_help() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }
# help_if_asked "$@": with -h or --help as the first word, that and nothing else.
help_if_asked() {
  case ${1:-} in
    -h | --help) print_help && exit 0 ;;
  esac
}

is_root() { [ "$(id -u)" = 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }

# run_logged LOG COMMAND...: run it with its output in LOG, a dot every 2 s, and on failure its end.
run_logged() {
  local log=$1 dots=0
  shift
  "$@" >"$log" 2>&1 </dev/null &
  local pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    dots=$((dots + 1))
    [ $((dots % 10)) = 0 ] && printf '.' >&2
  done
  [ "$dots" -ge 10 ] && printf '\n' >&2
  wait "$pid" || {
    tail -n 15 "$log" >&2
    return 1
  }
}

# 300: as long as the upgrades that a fresh host makes by itself are waited for
APT_WAIT_S=300

# apt_update LOG: the lock on the package lists is one that no option of apt-get waits for.
apt_update() {
  local waited=0
  until run_logged "$1" env LC_ALL=C apt-get update; do
    grep -q "Could not get lock" "$1" && [ "$waited" -lt "$APT_WAIT_S" ] || return 1
    note "another apt-get is at work; waiting"
    sleep 10
    waited=$((waited + 10))
  done
}

# apt_install PACKAGE...: from the distribution, said first; needs root and permission.
# INSTALL=no (--no-install) refuses.
apt_install() {
  [ "${INSTALL:-yes}" = yes ] || die "$* is not installed, and --no-install was given" \
    "install it yourself: apt-get install $*"
  is_root || die "$* is not installed" "as root: apt-get install $*"
  has apt-get || die "$* is not installed, and this host has no apt-get" \
    "install $* with your package manager, then run this again"
  say "installing $* from the distribution"
  local log install=(
    env DEBIAN_FRONTEND=noninteractive
    apt-get -o "DPkg::Lock::Timeout=$APT_WAIT_S" install -y "$@"
  )
  log=$(mktemp)
  if ! run_logged "$log" "${install[@]}"; then
    say "trying once more with fresh package lists"
    apt_update "$log" || die "apt-get update failed, so $* cannot be installed" \
      "mend what it says above, or install it yourself: apt-get install $*"
    run_logged "$log" "${install[@]}" || die "apt-get install $* failed"
  fi
  rm -f "$log"
}

# data_dir: where an installation keeps its state; never inside a checkout.
data_dir() {
  if [ -n "${CP_DATA_DIR:-}" ]; then
    printf '%s\n' "$CP_DATA_DIR"
  elif is_root; then
    printf '/var/lib/bunker\n'
  else
    printf '%s/bunker\n' "${XDG_DATA_HOME:-$HOME/.local/share}"
  fi
}

# remembered NAME: the value it has in the installation's `environment`, as load_remembered reads
# that; "" where it is not there.
remembered() {
  local file
  file=$(data_dir)/environment
  if [ -f "$file" ]; then sed -n "s/\r\$//; s/^$1=//p" "$file" | tail -n 1; fi
}

# A pid file holds "<pid> <start time>": a recycled pid is not our process, and one that ended but
# is still to be reaped (Z) runs no more.
start_time() { awk '{ sub(/^.*\) /, ""); if ($1 != "Z") print $20 }' "/proc/$1/stat" 2>/dev/null; }

remember_pid() { printf '%s %s\n' "$2" "$(start_time "$2")" >"$1"; }

# live_pid FILE: print the pid if that very process still runs; drop a stale file.
live_pid() {
  local pid started
  [ -f "$1" ] || return 1
  read -r pid started <"$1" || true
  if [ -n "${pid:-}" ] && [ -n "${started:-}" ] && [ "$(start_time "$pid")" = "$started" ]; then
    printf '%s\n' "$pid"
    return 0
  fi
  rm -f "$1"
  return 1
}

# stop_pid FILE SECONDS: SIGTERM, wait, SIGKILL at last.
stop_pid() {
  local pid waited=0
  pid=$(live_pid "$1") || return 0
  kill -TERM "$pid" 2>/dev/null || true
  while live_pid "$1" >/dev/null; do
    sleep 0.1
    waited=$((waited + 1))
    if [ "$waited" -ge $(($2 * 10)) ]; then
      kill -KILL "$pid" 2>/dev/null || true
      sleep 0.2
      break
    fi
  done
  rm -f "$1"
}
