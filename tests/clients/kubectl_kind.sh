#!/bin/bash
# What one kind has of its own, as kubectl shows it; the exit code is the number of failures.
#   KUBECONFIG=...  an administrator's           KUBECTL=kubectl   which kubectl
#   MANIFEST=x.yaml one valid object at rest (paused), named `accepted`, with spec.priority 5
#   PLURAL=apps.bunker.cloud
set -u
: "${KUBECONFIG:?}" "${MANIFEST:?}" "${PLURAL:?}"
KUBECTL=${KUBECTL:-kubectl}
NS=kind-$RANDOM
NAME=accepted
WORK=$(mktemp -d)
export HOME=$WORK # discovery cache of its own
failed=0

k() { timeout 30 "$KUBECTL" -n "$NS" "$@"; }

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

sed 's/priority: 5/priority: 6/' "$MANIFEST" >"$WORK/changed.yaml"
sed 's/priority: 5/bogusField: 1/' "$MANIFEST" >"$WORK/bad.yaml"
"$KUBECTL" create namespace "$NS" >/dev/null

t explain-recursive 0 'priority' k explain "$PLURAL" --recursive
t unknown-field 1 'unknown field "spec.bogusField"' k apply -f "$WORK/bad.yaml"
t apply-dry-run 0 'created \(server dry run\)' k apply --dry-run=server -f "$MANIFEST"
t apply 0 created k apply -f "$MANIFEST"
t apply-again 0 unchanged k apply -f "$MANIFEST"
t table 0 "^$NAME " k get "$PLURAL"
t table-wide 0 "^$NAME " k get "$PLURAL" -o wide
t yaml 0 'paused: true' k get "$PLURAL" "$NAME" -o yaml
t diff 1 'priority: 6' k diff -f "$WORK/changed.yaml"
t apply-change 0 configured k apply -f "$WORK/changed.yaml"
t patch 0 patched k patch "$PLURAL" "$NAME" --type=merge -p '{"spec":{"priority":7}}'
t patch-type 1 'priority' k patch "$PLURAL" "$NAME" --type=merge -p '{"spec":{"priority":"x"}}'
t server-side 0 serverside-applied k apply --server-side --force-conflicts -f "$MANIFEST"
t server-side-again 0 serverside-applied k apply --server-side -f "$MANIFEST"
t describe 0 'Paused' k describe "$PLURAL" "$NAME"
t delete 0 deleted k delete "$PLURAL" "$NAME" --timeout=20s
echo "failed: $failed"
exit "$failed"
