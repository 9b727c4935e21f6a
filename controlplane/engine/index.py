"""Who depends on whom, by key, so that a record that changes wakes those that name it.

Filled by each pass before it reads what it depends on (no change can slip between); it holds
keys only and is as large as the references of live records.
"""

from collections.abc import Iterable

from controlplane.records import Key


class Dependents:
    """The reverse index: target -> records that named it in their last pass."""

    def __init__(self) -> None:
        self._targets: dict[Key, frozenset[Key]] = {}
        self._dependents: dict[Key, set[Key]] = {}

    def set(self, key: Key, targets: Iterable[Key]) -> None:
        """From now on `key` depends on exactly `targets`."""
        new = frozenset(targets)
        old = self._targets.get(key, frozenset())
        if new == old:
            return
        for target in old - new:
            self._unlink(target, key)
        for target in new - old:
            self._dependents.setdefault(target, set()).add(key)
        if new:
            self._targets[key] = new
        else:
            self._targets.pop(key, None)

    def drop(self, key: Key) -> None:
        """`key` is gone and depends on nothing."""
        self.set(key, ())

    def of(self, target: Key) -> tuple[Key, ...]:
        """Who depends on `target`, sorted."""
        return tuple(sorted(self._dependents.get(target, ())))

    def _unlink(self, target: Key, key: Key) -> None:
        dependents = self._dependents[target]
        dependents.discard(key)
        if not dependents:
            del self._dependents[target]
