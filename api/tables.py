"""What `kubectl get` prints: objects as Table rows, and as metadata alone.

Rendering only: what is listed, and at which revision, is the caller's business; the cells are
cells.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from api.cells import Cell, Obj, cells
from api.negotiate import As
from resources.meta import KindInfo

Include = Literal["None", "Metadata", "Object"]


def columns(info: KindInfo) -> list[Mapping[str, Any]]:
    """columnDefinitions of a kind."""
    return [cell.definition for cell in cells(info)]


def table(
    info: KindInfo,
    objs: Iterable[Obj],
    *,
    metadata: Obj,
    now: datetime,
    include: Include = "Metadata",
    define: bool = True,
) -> dict[str, Any]:
    """A meta.k8s.io/v1 Table of full objects; `metadata` is the list's.

    `define` false leaves the column definitions out, as watches do after their first event.
    """
    row = cells(info)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [cell.definition for cell in row] if define else [],
        "rows": [_row(row, obj, now, include) for obj in objs],
    }


def _row(row: Sequence[Cell], obj: Obj, now: datetime, include: Include) -> dict[str, Any]:
    return {
        "cells": [cell.value(obj, now) for cell in row],
        "object": _row_object(obj, include),
    }


def bookmark(info: KindInfo, obj: Obj) -> dict[str, Any]:
    """A watch bookmark as a Table: one row of empty cells that carries the revision."""
    empty: list[Any] = [None] * len(cells(info))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": columns(info),
        "rows": [{"cells": empty, "object": partial(obj)}],
    }


def partial(obj: Obj) -> dict[str, Any]:
    """The object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


def partial_list(objs: Iterable[Obj], metadata: Obj) -> dict[str, Any]:
    """A list of metadata alone."""
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "items": [partial(obj) for obj in objs],
    }


def item(
    form: As, info: KindInfo, obj: Obj, *, now: datetime, include: Include = "Metadata"
) -> Obj:
    """One object in the form that was asked for."""
    match form:
        case As.TABLE:
            revision = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return table(info, [obj], metadata=revision, now=now, include=include)
        case As.PARTIAL:
            return partial(obj)
        case As.OBJECT | As.PARTIAL_LIST:
            return obj


def collection(
    form: As,
    info: KindInfo,
    objs: Iterable[Obj],
    *,
    metadata: Obj,
    now: datetime,
    include: Include = "Metadata",
) -> Obj:
    """A list in the form that was asked for; `metadata` has its revision and continue token."""
    if form is As.TABLE:
        return table(info, objs, metadata=metadata, now=now, include=include)
    if form in (As.PARTIAL, As.PARTIAL_LIST):
        return partial_list(objs, metadata)
    return {
        "kind": f"{info.kind}List",
        "apiVersion": info.api_version,
        "metadata": metadata,
        "items": list(objs),
    }


def entry(
    form: As, row: Sequence[Cell], obj: Obj, *, now: datetime, include: Include
) -> Mapping[str, Any]:
    """One record as an entry of such a collection, whose last field the entries are; `row` is
    the kind's cells."""
    match form:
        case As.TABLE:
            return _row(row, obj, now, include)
        case As.PARTIAL | As.PARTIAL_LIST:
            return partial(obj)
        case As.OBJECT:
            return obj


def _row_object(obj: Obj, include: Include) -> Obj | None:
    if include == "None":
        return None
    return obj if include == "Object" else partial(obj)
