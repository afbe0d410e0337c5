"""A cache bounded in bytes: the least recently used goes first. Safe to share between threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Keeps values while their sizes add up to at most `max_bytes`; a value larger than that is not kept at all."""

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes came as {max_bytes}; 0 or more is needed.")
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._used_bytes = 0
        self._lock = Lock()

    @property
    def used_bytes(self) -> int:
        """What the kept values add up to."""
        return self._used_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Value | None:
        """The value, now the most recently used, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def keep(self, key: Hashable, value: Value, size_bytes: int) -> Value:
        """Keeps the value and returns it; where another thread was first, that thread's value is returned instead."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key][0]
            if size_bytes <= self.max_bytes:
                self._entries[key] = (value, size_bytes)
                self._used_bytes += size_bytes
            while self._used_bytes > self.max_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self._used_bytes -= freed
            return value
