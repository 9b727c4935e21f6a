"""Paths that are not records find their route."""

from itertools import combinations

from api.app import ALL
from api.routes import Route, RouteTable, split


def fits_what_fits(one: Route, other: Route) -> bool:
    """Whether there is a path that both are for."""
    first, second = split(one.path), split(other.path)
    return len(first) == len(second) and all(
        mine == theirs or "{" in mine or "{" in theirs
        for mine, theirs in zip(first, second, strict=True)
    )


def test_each_route_is_found_by_its_path_with_what_its_placeholders_stand_for() -> None:
    table = RouteTable(ALL)
    for route in ALL:
        holders = {part.strip("{}"): part.strip("{}") for part in split(route.path) if "{" in part}
        found, params = table.find(route.path.replace("{", "").replace("}", ""))[route.method]
        assert found is route
        assert params == holders


def test_no_two_routes_fit_the_same_path_and_method() -> None:
    assert [
        (one.path, other.path)
        for one, other in combinations(ALL, 2)
        if one.method == other.method and fits_what_fits(one, other)
    ] == []


def test_what_is_no_route_is_not_found() -> None:
    table = RouteTable(ALL)
    assert table.find("/apis/bunker.cloud/v1/namespaces/default/apps/web") == {}
    assert table.find("/nowhere") == {}
