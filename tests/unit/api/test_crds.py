"""Definitions of our kinds, as clients that expect custom resources read them."""

from api.crds import definitions
from api.served import Catalogue
from resources.kinds import KINDS

FOUND = {obj["metadata"]["name"]: obj for obj in definitions(Catalogue(KINDS))}


def test_every_kind_of_ours_and_no_core_kind_has_one() -> None:
    ours = {f"{m.info.plural}.{m.info.group}" for m in KINDS if m.info.group}
    assert FOUND.keys() == ours


def test_definition_has_schema_columns_and_subresources() -> None:
    (version,) = FOUND["apps.bunker.cloud"]["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert schema["properties"]["metadata"] == {"type": "object"}
    assert schema["properties"]["spec"]["properties"]["replicas"]["default"] == 1
    assert version["subresources"].keys() == {"status", "scale"}
    assert {column["name"] for column in version["additionalPrinterColumns"]} >= {"Ready", "Age"}


def test_definitions_are_the_same_in_every_process() -> None:
    again = definitions(Catalogue(KINDS))
    assert {obj["metadata"]["uid"] for obj in again} == {
        obj["metadata"]["uid"] for obj in FOUND.values()
    }


def test_every_definition_is_established() -> None:
    for obj in FOUND.values():
        conditions = {c["type"]: c["status"] for c in obj["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}
