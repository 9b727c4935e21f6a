"""Knows secrets by their pieces, so that no part of one gets out.

A key of many lines or a long token is hardly ever logged as a whole; a line of it may be, cut
anywhere by whoever told it. Not for short secrets and for phrases: logs.py looks for those as they
are.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

PIECE: Final = 12
"""Characters. Whatever shows 23 in a row of a run that is known shows a whole piece of it."""
MOST_PIECES: Final = 65_536
"""What was met longest ago is forgotten: 12 MB. A line takes as long whatever is known, 15 µs."""
LONGEST: Final = 64 * 1024
"""Of a value no more is read, in characters: 6 ms."""
_RUN: Final = re.compile(rf"[A-Za-z0-9_+=-]{{{PIECE},}}")
"""What no separator of a URL, a JWT or a quoted text is in."""
_MIXED: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{20,}")
_HEX: Final = re.compile(r"[0-9a-fA-F]{32,}")
_LETTER_AND_DIGIT: Final = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])")


class Pieces:
    """Of the secrets met so far."""

    def __init__(self) -> None:
        # a dict finds its first entry behind all that were removed: quadratic once it is full
        self._known: OrderedDict[str, None] = OrderedDict()

    def learn(self, text: str, *, named: bool) -> None:
        """Take in the runs of `text` that look as if made by chance; where it isn't `named` as a
        secret, those alone that hardly could be anything else: it may say where a server is."""
        for found in _RUN.finditer(text[:LONGEST]):
            run = found[0]
            by_chance = _MIXED.match(run) or _HEX.fullmatch(run)
            if by_chance or (named and _LETTER_AND_DIGIT.match(run)):
                for piece in _aligned(run):
                    self._known[piece] = None
                    self._known.move_to_end(piece)
        while len(self._known) > MOST_PIECES:
            self._known.popitem(last=False)

    def hidden(self, text: str, instead: str) -> str:
        """`text` with `instead` for each run that shows a piece of what is known."""
        return _RUN.sub(lambda found: instead if self._shows(found[0]) else found[0], text)

    def _shows(self, run: str) -> bool:
        known = self._known
        return any(run[at : at + PIECE] in known for at in range(len(run) - PIECE + 1))


def _aligned(run: str) -> Iterator[str]:
    return (run[at : at + PIECE] for at in range(0, len(run) - PIECE + 1, PIECE))
