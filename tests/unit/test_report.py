"""The table of figures says what the last runs found, each thing once."""

from tests.support.report import table


def planted(bug: str, at: float, *, caught: bool, took_s: float = 3.0) -> dict[str, object]:
    return {"name": "planted bugs", "count": 1, "at": at, "bug": bug, "caught": caught,
            "took_s": took_s}  # fmt: skip


def test_table_sums_figures_and_counts_kinds() -> None:
    rows = [
        {"name": "crash plans", "count": 3, "at": 1.0, "kind": "App"},
        {"name": "crash plans", "count": 1200, "at": 2.0, "kind": "Zone"},
        {"name": "seeds", "count": 25, "at": 2.0},
    ]
    assert table(rows)[2:] == ["| crash plans | 1,203, 2 kinds |", "| seeds | 25 |"]


def test_table_counts_a_planted_bug_once_as_its_last_run_found_it() -> None:
    rows = [
        planted("later-caught", 9.0, caught=True),
        planted("later-caught", 1.0, caught=False),
        planted("survivor", 1.0, caught=True),
        planted("survivor", 2.0, caught=False),
    ]
    assert table(rows)[2:] == ["| planted bugs caught | 1 of 2, median 3 s |"]
