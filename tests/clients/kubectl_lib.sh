# Shared by the kubectl scripts of this folder; source it with NS set. Defines k, t and a cleanup.
# shellcheck shell=bash
KUBECTL=${KUBECTL:-kubectl}
WORK=$(mktemp -d)
export HOME=$WORK # discovery cache of its own
failed=0

k() { timeout "${K_S:-30}" "$KUBECTL" -n "$NS" "$@"; }

# t NAME RC REGEX COMMAND...  (empty regex: any output)
t() {
  local name=$1 want=$2 regex=$3 out rc
  shift 3
  out=$("$@" 2>&1)
  rc=$?
  if [ "$rc" = "$want" ] && { [ -z "$regex" ] || grep -qE -- "$regex" <<<"$out"; }; then
    echo "PASS  $name"
    return
  fi
  failed=$((failed + 1))
  echo "FAIL  $name (exit code $rc, wanted $want and /$regex/)"
  sed 's/^/      | /' <<<"$out" | tail -8
}

cleanup() {
  k delete namespace "$NS" --wait=false >/dev/null 2>&1
  rm -rf "$WORK"
}
trap cleanup EXIT
