# Finding, installing, starting and stopping a Docker engine; source it after lib.sh.
# Never touches an engine that was there before. Reads INSTALL=yes|no.
# shellcheck shell=bash

engine_answers() { has docker && timeout 10 docker version >/dev/null 2>&1; }

# engine_ensure STATE_DIR: after it an engine answers. One we start is recorded in
# STATE_DIR/engine.pid, so that engine_stop ends that one and no other.
engine_ensure() {
  local state=$1
  engine_answers && return 0
  engine_explain_refusal
  if ! has dockerd && [ -z "${DOCKER_HOST:-}" ]; then
    apt_install docker.io
    : >"$state/engine.installed"
  fi
  has docker || apt_install docker-cli
  engine_answers && return 0
  is_root || die "no Docker engine answers" "start one as root: systemctl start docker"
  if [ -d /run/systemd/system ]; then
    say "starting the Docker service"
    systemctl start docker || true
  else
    engine_spawn "$state"
  fi
  engine_wait "$state"
}

# Somebody else's engine that we may not use is a matter of rights, not of installing.
engine_explain_refusal() {
  if [ -n "${DOCKER_HOST:-}" ]; then
    die "the Docker engine at DOCKER_HOST does not answer" "unset DOCKER_HOST or start that engine"
  fi
  if [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
    die "you may not use this host's Docker engine" \
      "run as root, or: usermod -aG docker $(id -un), then log in again"
  fi
}

engine_spawn() {
  local state=$1
  say "starting a Docker engine of our own (this host has no systemd)"
  # setsid: it outlives this script; 9>&-: and must not keep its lock
  setsid dockerd >>"$state/engine.log" 2>&1 </dev/null 9>&- &
  remember_pid "$state/engine.pid" $!
}

engine_wait() {
  local tries
  for tries in $(seq 60); do
    engine_answers && return 0
    if [ -f "$1/engine.pid" ] && ! live_pid "$1/engine.pid" >/dev/null; then break; fi
    [ $((tries % 4)) = 0 ] && note "waiting for the Docker engine"
    sleep 0.5
  done
  [ -f "$1/engine.log" ] && tail -n 5 "$1/engine.log" >&2
  die "the Docker engine did not start" "see $1/engine.log, or: journalctl -u docker"
}

# engine_stop STATE_DIR: stops the engine we started, if any.
engine_stop() {
  live_pid "$1/engine.pid" >/dev/null || return 0
  say "stopping the Docker engine that was started here"
  stop_pid "$1/engine.pid" 30
}
