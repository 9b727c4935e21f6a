"""What is accepted, what is refused, and that each refusal says how to write it."""

from typing import Any

import pytest
from pydantic import ValidationError

from resources.app import App
from resources.database import PLANS, VERSIONS, Database
from resources.kinds import KIND_INFOS, KINDS, MODELS
from resources.meta import Footprint, Reference
from resources.volume import Volume

CLAIM = {"namespace": "shop", "namespaceUid": "u", "name": "db", "engine": "postgres"}
OWNER = {"apiVersion": "bunker.cloud/v1", "kind": "Database", "name": "db", "uid": "1"}


def record(kind: str, spec: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"metadata": {"name": "x", "namespace": "shop"}, **rest}
    return body if spec is None else {**body, "kind": kind, "spec": spec}


def database(**spec: Any) -> Database:
    return Database.model_validate(record("Database", {"engine": "postgres", **spec}))


def app(**spec: Any) -> App:
    return App.model_validate(record("App", {"image": "shop:1", **spec}))


@pytest.mark.parametrize(
    ("kind", "spec", "path", "fix"),
    [
        pytest.param("Database", {}, "spec.engine", "", id="engine missing"),
        pytest.param("Database", {"engine": "oracle"}, "spec.engine", "'redis'", id="engine"),
        pytest.param(
            "Database", {"engine": "postgres", "version": "9"}, "spec", "'14'", id="version"
        ),
        pytest.param(
            "Database", {"engine": "postgres", "version": 17}, "spec.version", "", id="not a string"
        ),
        pytest.param(
            "Database", {"engine": "redis", "username": "me"}, "spec", "leave them out", id="redis"
        ),
        pytest.param(
            "Database",
            {"engine": "postgres", "username": 'x"; DROP ROLE y'},
            "spec.username",
            "SQL name",
            id="injection",
        ),
        pytest.param(
            "Database", {"engine": "redis", "storage": 1.5}, "spec.storage", "10Gi", id="float"
        ),
        pytest.param(
            "Database", {"engine": "redis", "storage": "1Mi"}, "spec.storage", "64Mi", id="tiny"
        ),
        pytest.param(
            "Database",
            {"engine": "redis", "publish": {"address": "host"}},
            "spec.publish.address",
            "IPv4",
            id="address",
        ),
        pytest.param("App", {"image": "a b"}, "spec.image", "registry", id="image"),
        pytest.param("App", {"image": "a", "port": "80"}, "spec.port", "", id="port as text"),
        pytest.param("App", {"image": "a", "port": 65536}, "spec.port", "", id="port too high"),
        pytest.param("App", {"image": "a", "replicas": -1}, "spec.replicas", "", id="replicas"),
        pytest.param("App", {"image": "a", "paused": 1}, "spec.paused", "", id="boolean"),
        pytest.param(
            "App", {"image": "a", "command": ["a\0b"]}, "spec.command.0", "NUL", id="NUL in argv"
        ),
        pytest.param(
            "App", {"image": "a", "env": [{"name": "1A"}]}, "spec.env.0.name", "digit", id="env"
        ),
        pytest.param(
            "App", {"image": "a", "env": [{"name": "A"}] * 2}, "spec", "twice", id="env twice"
        ),
        pytest.param("App", {"image": "a", "publish": {}}, "spec", "spec.port", id="publish"),
        pytest.param(
            "App",
            {"image": "a", "port": 1, "publish": {}, "replicas": 2},
            "spec",
            "set replicas to 1",
            id="publish many",
        ),
        pytest.param(
            "App", {"image": "a", "healthCheck": {}}, "spec", "healthCheck.port", id="check"
        ),
        pytest.param(
            "App",
            {"image": "a", "healthCheck": {"path": "/a b", "port": 1}},
            "spec.healthCheck.path",
            "HTTP path",
            id="path",
        ),
        pytest.param(
            "App",
            {"image": "a", "resources": {"cpu": "1m", "memory": "1Mi"}},
            "spec.resources.cpu",
            "10m",
            id="too little",
        ),
        pytest.param(
            "App", {"image": "a", "envFrom": [{}]}, "spec.envFrom.0", "exactly one", id="envFrom"
        ),
        pytest.param(
            "App", {"image": "a", "privileged": True}, "spec.privileged", "", id="privileged"
        ),
        pytest.param("Quota", {}, "spec", "at least one", id="quota of nothing"),
        pytest.param(
            "Host",
            {"capacity": {"cpu": "1"}, "reserved": {"cpu": "2"}},
            "spec",
            "reserve less",
            id="reserved",
        ),
        pytest.param(
            "Volume", {"claim": CLAIM, "size": "-1"}, "spec.size", "10Gi", id="volume size"
        ),
    ],
)
def test_a_bad_spec_is_refused_with_its_field_and_the_fix(
    kind: str, spec: dict[str, Any], path: str, fix: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        MODELS[kind].model_validate(record(kind, spec))
    found = {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}
    assert path in found
    assert fix in found[path]


@pytest.mark.parametrize(
    "image",
    [
        "redis",
        "nginx:1.27",
        "registry.example.org:5000/team/shop:v2",
        "127.0.0.1:5999/bunker/postgres:18",
        "a/b__c/d-e.f@sha256:" + "0" * 64,
    ],
)
def test_an_image_reference_is_accepted(image: str) -> None:
    assert app(image=image).spec.image == image


@pytest.mark.parametrize(
    "image", ["", "UPPER", "a:", "a/", "/a", "a b", "a;b", "--privileged", "a@sha256:0", "a\n"]
)
def test_what_is_no_image_reference_is_refused(image: str) -> None:
    with pytest.raises(ValidationError):
        app(image=image)


def test_a_bad_secret_value_is_not_echoed_in_the_message() -> None:
    with pytest.raises(ValidationError) as caught:
        MODELS["Secret"].model_validate(record("Secret", data={"password": "hunter2!"}))
    assert "hunter2" not in caught.value.errors()[0]["msg"]


def test_a_secret_of_more_than_a_mebibyte_is_refused() -> None:
    with pytest.raises(ValidationError, match="1 MiB"):
        MODELS["ConfigMap"].model_validate(record("ConfigMap", data={"a": "x" * 1_500_000}))


def test_a_config_map_key_in_both_maps_is_refused() -> None:
    with pytest.raises(ValidationError, match="keep one"):
        MODELS["ConfigMap"].model_validate(
            record("ConfigMap", data={"a": "x"}, binaryData={"a": "eA=="})
        )


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        pytest.param({"engine": "redis"}, {}, ["spec.engine"], id="engine"),
        pytest.param({"version": "17"}, {"version": "18"}, ["spec.version"], id="version"),
        pytest.param({"version": "17"}, {}, [], id="version left out"),
        pytest.param({"username": "a"}, {}, ["spec.username"], id="username"),
        pytest.param({"database": "app"}, {}, [], id="the default spelled out"),
        pytest.param({"storage": "3Gi"}, {"storage": "2Gi"}, ["spec.storage"], id="shrink"),
        pytest.param({"plan": "pro"}, {"plan": "basic"}, ["spec.storage"], id="smaller plan"),
        pytest.param(
            {"plan": "pro"}, {"plan": "basic", "storage": "50Gi"}, [], id="smaller plan, same disk"
        ),
        pytest.param({}, {"volumeRef": {"name": "v"}}, ["spec.volumeRef"], id="volumeRef"),
        pytest.param({}, {"plan": "pro", "publish": {}, "paused": True}, [], id="allowed"),
    ],
)
def test_a_database_refuses_what_may_not_change(
    old: dict[str, Any], new: dict[str, Any], fields: list[str]
) -> None:
    errors = database(**new).check_update(database(**old))
    assert [error.field for error in errors] == fields


REFUSED = {"type": "Admitted", "status": "False", "reason": "BudgetExceeded",
           "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip


def waiting(kind: str, spec: dict[str, Any], **status: Any) -> Any:
    """A record whose edit to `spec` has no room."""
    body = record(kind, spec, status={"conditions": [REFUSED], **status})
    return MODELS[kind].model_validate(body)


MODEL = {"engine": "llamacpp", "source": {"url": "https://models.example.org/tiny.gguf"}}


@pytest.mark.parametrize(
    ("kind", "was", "asked", "less"),
    [
        pytest.param(
            "Database",
            {"engine": "postgres"},
            {"engine": "postgres", "plan": "enterprise"},
            {"engine": "postgres", "storage": "512Mi"},
            id="Database",
        ),
        pytest.param(
            "Platform",
            {"service": "registry", "storage": "20Gi"},
            {"service": "registry", "storage": "90Gi"},
            {"service": "registry", "storage": "19Gi"},
            id="Platform",
        ),
        pytest.param(
            "Model",
            {**MODEL, "storage": "8Gi"},
            {**MODEL, "storage": "90Gi"},
            {**MODEL, "storage": "7Gi"},
            id="Model",
        ),
    ],
)
def test_an_edit_that_has_no_room_can_be_taken_back_but_to_no_less_than_before(
    kind: str, was: dict[str, Any], asked: dict[str, Any], less: dict[str, Any]
) -> None:
    old = waiting(kind, asked, allocation={"cpu": "250m", "spec": was})
    again, smaller = (MODELS[kind].model_validate(record(kind, spec)) for spec in (was, less))
    assert again.check_update(old) == ()
    assert [e.field for e in smaller.check_update(old)] == ["spec.storage"]
    admitted = waiting(kind, asked, allocation={"cpu": "250m"})
    assert [e.field for e in again.check_update(admitted)] == ["spec.storage"]
    unreadable = waiting(kind, asked, allocation={"cpu": "250m", "spec": {"engine": "another"}})
    assert [e.field for e in again.check_update(unreadable)] == ["spec.storage"]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Database", {"engine": "postgres"}),
        ("Platform", {"service": "registry"}),
        ("Model", MODEL),
    ],
)
def test_storage_goes_back_to_what_its_volume_has(kind: str, spec: dict[str, Any]) -> None:
    def edited(storage: str) -> list[str]:
        new = MODELS[kind].model_validate(record(kind, {**spec, "storage": storage}))
        old = {**spec, "storage": "90Gi"}
        return [e.field for e in new.check_update(waiting(kind, old, **status))]

    status: dict[str, Any] = {"allocation": {"cpu": "250m"}, "storage": "2Gi"}
    assert edited("2Gi") == []
    assert edited("1Gi") == ["spec.storage"]
    status = {"allocation": {"cpu": "250m"}, "storage": "90Gi"}
    assert edited("2Gi") == ["spec.storage"]
    assert "storage" in type(waiting(kind, spec).status).agents_own, "nobody else may write it"


def test_what_never_had_room_may_ask_for_less() -> None:
    old = waiting("Database", {"engine": "postgres", "plan": "enterprise"})
    assert database().check_update(old) == ()


@pytest.mark.parametrize(
    ("status", "size", "fields"),
    [
        pytest.param({"allocation": {"disk": "2Gi"}}, "2Gi", [], id="to what it has"),
        pytest.param({"allocation": {"disk": "2Gi"}}, "1Gi", ["spec.size"], id="less than that"),
        pytest.param({"allocation": {"disk": "90Gi"}}, "2Gi", ["spec.size"], id="admitted"),
        pytest.param({"conditions": [REFUSED]}, "2Gi", [], id="never had room"),
        pytest.param({"conditions": []}, "2Gi", ["spec.size"], id="not asked yet"),
        pytest.param(
            {"conditions": [REFUSED], "dockerName": "v"}, "2Gi", ["spec.size"], id="is there"
        ),
    ],
)
def test_the_size_of_a_volume_goes_back_to_what_it_was_given(
    status: dict[str, Any], size: str, fields: list[str]
) -> None:
    def volume(size: str, **rest: Any) -> Volume:
        spec = {"claim": CLAIM, "size": size}
        return Volume.model_validate({"metadata": {"name": "x"}, "spec": spec, **rest})

    errors = volume(size).check_update(volume("90Gi", status=status))
    assert [e.field for e in errors] == fields


def test_a_version_that_was_left_out_may_not_change_to_another_than_runs() -> None:
    body = record("Database", {"engine": "postgres"}, status={"version": "16"})
    old = Database.model_validate(body)
    assert database(version="16").check_update(old) == ()
    assert [e.field for e in database(version="18").check_update(old)] == ["spec.version"]


def test_a_volume_in_use_may_not_change_hands() -> None:
    def volume(owned: bool, name: str = "db", size: str = "1Gi", docker: str = "v") -> Volume:
        meta = {"name": "x", "ownerReferences": [OWNER] if owned else []}
        claim = {**CLAIM, "name": name}
        spec = {"claim": claim, "size": size, "dockerName": docker}
        return Volume.model_validate({"metadata": meta, "spec": spec})

    assert [e.field for e in volume(True, "other").check_update(volume(True))] == ["spec.claim"]
    assert volume(False, "other").check_update(volume(False)) == ()
    assert [e.field for e in volume(True, size="1Mi").check_update(volume(True))] == ["spec.size"]
    assert len(volume(True, docker="w").check_update(volume(True))) == 1


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_immutable_data_may_not_change(kind: str) -> None:
    def make(value: str, immutable: bool | None) -> Any:
        return MODELS[kind].model_validate(record(kind, data={"a": value}, immutable=immutable))

    assert make("eA==", None).check_update(make("eQ==", None)) == ()
    assert [e.field for e in make("eA==", True).check_update(make("eQ==", True))] == ["data"]
    assert [e.field for e in make("eA==", None).check_update(make("eA==", True))] == ["immutable"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        pytest.param({"data": {"a": "eA=="}, "stringData": {"a": "y"}}, ["data"], id="changed"),
        pytest.param({"data": {"a": "eA=="}, "stringData": {"b": "y"}}, ["data"], id="added"),
        pytest.param({"stringData": {"a": "x"}}, [], id="the same in plain text"),
    ],
)
def test_plain_text_does_not_change_an_immutable_secret(given: Any, wrong: list[str]) -> None:
    old, new = (
        MODELS["Secret"].model_validate(record("Secret", **data, immutable=True))
        for data in ({"data": {"a": "eA=="}}, given)
    )
    assert [e.field for e in new.check_update(old)] == wrong


def test_the_type_of_a_secret_may_not_change() -> None:
    old, new = (MODELS["Secret"].model_validate(record("Secret", type=t)) for t in ("a", "b"))
    assert [e.field for e in new.check_update(old)] == ["type"]


def test_footprints_follow_from_the_spec_alone() -> None:
    assert database(plan="basic").footprint == Footprint(500, 512 * 2**20, 0)
    own = {"cpu": "1", "memory": "1Gi"}
    assert database(resources=own).footprint == Footprint(1000, 2**30, 0)
    assert app(replicas=3, resources=own).footprint == Footprint(3000, 3 * 2**30, 0)
    volume = Volume.model_validate({"metadata": {}, "spec": {"claim": CLAIM, "size": "2Gi"}})
    assert volume.footprint == Footprint(0, 0, 2 * 2**30)


def test_references_and_host_ports_are_told() -> None:
    shop = app(databaseRefs=[{"name": "a"}, {"name": "b"}], port=80, publish={"port": 8080})
    assert shop.references == (
        Reference("spec.databaseRefs[a]", "Database", "a"),
        Reference("spec.databaseRefs[b]", "Database", "b"),
    )
    assert shop.host_ports == (8080,)
    assert app().host_ports == ()
    assert database(publish={}).host_ports == (None,)


def test_plans_grow_and_versions_are_ordered() -> None:
    sizes = [(p.resources.cpu, p.resources.memory, p.storage_bytes) for p in PLANS.values()]
    assert sizes == sorted(sizes)
    assert all([int(v) for v in vs] == sorted(int(v) for v in vs) for vs in VERSIONS.values())


def test_kind_names_plurals_and_short_names_are_unique() -> None:
    words = [w for i in KIND_INFOS.values() for w in (i.plural, i.singular, *i.short_names)]
    assert len(words) == len(set(words))
    assert len(KINDS) == len(KIND_INFOS)


@pytest.mark.parametrize("model", KINDS, ids=lambda m: str(m.info.kind))
def test_every_field_of_every_spec_and_status_has_a_description(model: Any) -> None:
    schema = model.model_json_schema()
    for name, part in {**schema["$defs"], "": schema}.items():
        if name in ("ObjectMeta", "OwnerReference"):  # described by Kubernetes itself
            continue
        for field, body in part.get("properties", {}).items():
            if field not in ("apiVersion", "kind", "metadata", "spec", "status"):
                assert body.get("description"), f"{name}.{field}"
