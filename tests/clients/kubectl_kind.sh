#!/bin/bash
# What one kind has of its own, as kubectl shows it; the exit code is the number of failures.
#   KUBECONFIG=...  an administrator's           KUBECTL=kubectl   which kubectl
#   MANIFEST=x.yaml one valid object at rest (paused), named `accepted`, with spec.priority 5
#   PLURAL=apps.bunker.cloud
set -u
: "${KUBECONFIG:?}" "${MANIFEST:?}" "${PLURAL:?}"
NS=kind-$RANDOM
NAME=accepted
source "$(dirname "$0")/kubectl_lib.sh"

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
