#!/bin/bash
# kubectl's verbs against our API, one line each; the exit code is the number of failures.
#   KUBECONFIG=...   an administrator's            KUBECTL=kubectl   which kubectl
#   LIVE=1           a control plane with an agent runs: also wait for real readiness
# Covers what people type every day. Every object is made in a namespace of its own.
set -u
: "${KUBECONFIG:?}"
LIVE=${LIVE:-}
NS=smoke-$RANDOM
source "$(dirname "$0")/kubectl_lib.sh"

database() { # NAME PAUSED PRIORITY
  cat <<Y
apiVersion: bunker.cloud/v1
kind: Database
metadata: {name: $1, labels: {smoke: "yes"}}
spec: {engine: redis, paused: $2, priority: $3}
Y
}
database db true 1 >"$WORK/db.yaml"
database db true 2 >"$WORK/db2.yaml"
database ssa true 1 >"$WORK/ssa.yaml"
database ssa true 2 >"$WORK/ssa2.yaml"
sed 's/priority: 1/bogus: 1/' "$WORK/db.yaml" >"$WORK/bad.yaml"
cat >"$WORK/app.yaml" <<Y
apiVersion: bunker.cloud/v1
kind: App
metadata: {name: app}
spec: {image: "bunker.local/demo:1", paused: true, resources: {cpu: 100m, memory: 64Mi}}
Y

t version 0 'Server Version' k version
t api-resources 0 'databases +db +bunker.cloud/v1 +true +Database' k api-resources
t explain 0 'Size: .starter' k explain databases.spec.plan
t explain-recursive 0 'deletionPolicy' k explain databases --recursive
t create-namespace 0 created k create namespace "$NS"
t create-secret 0 created k create secret generic s --from-literal=a=b
t create-configmap 0 created k create configmap c --from-literal=a=b
t secret-table 0 'Opaque +1' k get secret s
t apply-dry-run 0 'created \(server dry run\)' k apply --dry-run=server -f "$WORK/db.yaml"
t apply-create 0 created k apply -f "$WORK/db.yaml"
t apply-again 0 unchanged k apply -f "$WORK/db.yaml"
t diff 1 '^\+.*priority: 2' k diff -f "$WORK/db2.yaml"
t apply-change 0 configured k apply -f "$WORK/db2.yaml"
t apply-unknown-field 1 'unknown field "spec.bogus"' k apply -f "$WORK/bad.yaml"
t get-table 0 '^db +redis' k get db
t get-wide 0 'PLAN' k get db -o wide
t get-yaml 0 'engine: redis' k get db db -o yaml
t get-selector 0 '^db' k get db -l smoke=yes
t get-all-namespaces 0 "^$NS +db" k get db -A
t get-chunked 0 '^db' k get db --chunk-size=1
t label 0 labeled k label db db a=b
t annotate 0 annotated k annotate db db a=b
t patch-merge 0 patched k patch db db --type=merge -p '{"spec":{"priority":3}}'
t patch-json 0 patched k patch db db --type=json -p '[{"op":"replace","path":"/spec/priority","value":4}]'
t patch-invalid 1 'spec.engine' k patch db db --type=merge -p '{"spec":{"engine":"oracle"}}'
t ssa-create 0 serverside-applied k apply --server-side -f "$WORK/ssa.yaml"
t ssa-conflict 1 'conflict with "kubectl"' k apply --server-side --field-manager=me -f "$WORK/ssa2.yaml"
t ssa-force 0 serverside-applied k apply --server-side --field-manager=me --force-conflicts -f "$WORK/ssa2.yaml"
t create-app 0 created k create -f "$WORK/app.yaml"
t scale 0 scaled k scale app app --replicas=3
t scale-visible 0 '^3$' k get app app -o 'jsonpath={.spec.replicas}'
seen=$(k get app app -o 'jsonpath={.metadata.generation}')
k patch app app --subresource=status --type=merge -p \
  "{\"status\":{\"observedGeneration\":$seen,\"replicas\":3,\"updatedReplicas\":3,\"readyReplicas\":3}}" >/dev/null
t rollout-done 0 'successfully rolled out' k rollout status deployment/app --watch=false
t restart 0 restarted k rollout restart deployment/app
# an agent has seen it by then, and exchanges nothing in an App that is paused
[ -n "$LIVE" ] || t rollout-waits 0 'Waiting for deployment spec update' k rollout status deployment/app --watch=false
t restart-visible 0 '^20[0-9-]+T[0-9:]+' k get app app -o 'jsonpath={.spec.restartedAt}'
t restart-owned 0 'kubectl-rollout' k get app app --show-managed-fields -o 'jsonpath={.metadata.managedFields[*].manager}'
t restart-alone 1 'spec.replicas: Forbidden: .*App' k patch deployment app -p '{"spec":{"replicas":3}}'
t image-refused 1 'spec.template.spec: Forbidden: .*App' k set image deployment/app app=y:2
t status-patch 0 patched k patch db db --subresource=status --type=merge \
  -p '{"status":{"conditions":[{"type":"Smoke","status":"True","reason":"Test","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}'
t wait-condition 0 'condition met' k wait db/db --for=condition=Smoke --timeout=5s
t wait-jsonpath 0 'condition met' k wait db/db --for=jsonpath='{.spec.priority}=4' --timeout=5s
t wait-timeout 1 'timed out' k wait db/db --for=condition=Never --timeout=1s
(sleep 1 && k label db db watched=yes) >/dev/null 2>&1 &
t watch 0 'MODIFIED +db' bash -c "timeout 4 $KUBECTL -n $NS get db --watch-only --output-watch-events; true"
wait
t describe 0 'Kind: +Database' k describe db db
t events 0 '' k events
t can-i 0 '^yes' k auth can-i create databases
t whoami 0 Username k auth whoami
t delete 0 deleted k delete db db --timeout=20s
t delete-gone 1 NotFound k get db db

if [ -n "$LIVE" ]; then
  database live false 0 | k apply -f - >/dev/null
  t live-ready 0 'condition met' timeout 180 "$KUBECTL" -n "$NS" wait db/live --for=condition=Ready --timeout=170s
  t live-secret 0 '^[A-Za-z0-9+/=]+$' k get secret live-credentials -o 'jsonpath={.data.password}'
  t live-delete 0 deleted timeout 60 "$KUBECTL" -n "$NS" delete db live --timeout=50s
fi

t delete-namespace 0 deleted timeout 60 "$KUBECTL" delete namespace "$NS" --timeout=50s
echo "failed: $failed"
exit "$failed"
