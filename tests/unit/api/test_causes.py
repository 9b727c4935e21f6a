"""Chains of causes over records that only exist here."""

from typing import Any

from api.causes import chain


def record(kind: str, name: str, spec: Any = None, **conditions: tuple[str, str, str]) -> Any:
    return {
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec or {},
        "status": {
            "conditions": [
                {"type": type_, "status": status, "reason": reason, "message": message}
                for type_, (status, reason, message) in conditions.items()
            ]
        },
    }


def explained(kind: str, name: str, *records: Any) -> list[str]:
    known = {(r["kind"], r["metadata"]["name"]): r for r in records}
    return chain(kind, name, lambda kind, name: known.get((kind, name)))


APP = record(
    "App",
    "shop",
    {"databaseRefs": [{"name": "shop-db"}]},
    Ready=("False", "WaitingForReference", "waits for Database shop-db"),
)


def test_chain_ends_at_the_cause() -> None:
    database = record(
        "Database",
        "shop-db",
        Ready=("False", "NotAdmitted", ""),
        Admitted=("False", "BudgetExceeded", "412Mi of memory short; preview-17 holds 512Mi"),
    )
    assert explained("App", "shop", APP, database) == [
        "App shop: WaitingForReference: waits for Database shop-db",
        "  <- Database shop-db: BudgetExceeded: 412Mi of memory short; preview-17 holds 512Mi",
    ]


def test_chain_tells_why_work_fails_before_what_is_missing_for_it() -> None:
    failing = record(
        "App",
        "shop",
        Ready=("False", "NotServing", "0 of 1 replicas serve"),
        Synced=("False", "ImageNotFound", "cannot find image 'shop:1'"),
    )
    assert explained("App", "shop", failing) == [
        "App shop: ImageNotFound: cannot find image 'shop:1'"
    ]
    at_work = record(
        "App",
        "shop",
        Ready=("False", "NotServing", "0 of 1 replicas serve"),
        Synced=("False", "Progressing", "RunContainer"),
    )
    assert explained("App", "shop", at_work) == ["App shop: NotServing: 0 of 1 replicas serve"]


def test_chain_tells_what_an_edit_of_something_ready_waits_for() -> None:
    edited = record(
        "App",
        "shop",
        Ready=("True", "Serving", "1 of 1 replicas serve"),
        Synced=("False", "SecretMissing", "Secret 'keys' does not exist"),
    )
    assert explained("App", "shop", edited) == [
        "App shop: ready as it was before; SecretMissing: Secret 'keys' does not exist"
    ]


def test_chain_names_what_does_not_exist() -> None:
    assert explained("App", "shop", APP)[-1] == (
        "  <- Database shop-db: does not exist; create it or mend the reference"
    )


def test_chain_leaves_out_references_that_are_ready() -> None:
    database = record("Database", "shop-db", Ready=("True", "Serving", ""))
    assert len(explained("App", "shop", APP, database)) == 1


def test_chain_says_what_holds_a_deletion() -> None:
    database = record("Database", "shop-db")
    database["metadata"] |= {
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": ["bunker.cloud/outside"],
    }
    assert explained("Database", "shop-db", database) == [
        "Database shop-db: is being deleted, held by bunker.cloud/outside"
    ]


def test_paused_and_unseen_records_say_so() -> None:
    paused = record("Database", "a", {"paused": True})
    assert "paused" in explained("Database", "a", paused)[0]
    assert "looked at it" in explained("Database", "b", record("Database", "b"))[0]


def test_plain_data_is_ready() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "s"}}
    assert explained("Secret", "s", secret) == ["Secret s: ready"]


def test_stalled_comes_before_its_symptoms() -> None:
    database = record(
        "Database",
        "a",
        Ready=("False", "NotReady", "does not answer"),
        Stalled=("True", "Invalid", "major downgrade"),
    )
    assert explained("Database", "a", database) == ["Database a: Invalid: major downgrade"]
