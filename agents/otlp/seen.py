"""Bounded memory of recent ids: newer ones displace the oldest. Pure; used by one thread."""

from __future__ import annotations

from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A mapping of the newest ids: at least the newest half of `most`, and never more than `most`.

    Two generations: when the younger one is full, it becomes the older one, which is forgotten.
    """

    def __init__(self, most: int) -> None:
        self._half = max(most // 2, 1)
        self._young: dict[bytes, Value] = {}
        self._old: dict[bytes, Value] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def put(self, key: bytes, value: Value) -> None:
        """Remember the id and its value."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def get(self, key: bytes) -> Value | None:
        """Return the id's value, None if it is not remembered."""
        return self._young.get(key, self._old.get(key))

    def pop(self, key: bytes) -> Value | None:
        """Forget the id; return its value, None if it is not remembered."""
        young = self._young.pop(key, None)
        old = self._old.pop(key, None)
        return old if young is None else young
