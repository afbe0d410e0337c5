"""Keys and values of frames that a frame-causal stack has finished with: they never change, so reuse is exact."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerPast:
    """What one layer keeps of frames gone by, the oldest first. Never changed: many futures may go on from it."""

    key_BMXd: Tensor
    value_BMXd: Tensor

    def add(self, key_BMXd: Tensor, value_BMXd: Tensor) -> LayerPast:
        """With later frames behind."""
        key_BMXd = torch.cat((self.key_BMXd, key_BMXd), dim=2)
        return LayerPast(key_BMXd, torch.cat((self.value_BMXd, value_BMXd), dim=2))

    def last(self, tokens: int) -> LayerPast:
        """The latest of it, at most so many tokens."""
        start = self.key_BMXd.shape[2] - tokens
        if start <= 0:  # a slice of all would still be copied on the way back
            return self
        return LayerPast(self.key_BMXd[:, :, start:], self.value_BMXd[:, :, start:])


class RollingPast:
    """The same in memory that is taken once and written in place: for one way on that never turns back.

    It holds as many frames as a window sees, this one included; where it is full, the oldest gives way. In what order
    keys lie is nothing to a frame that sees them all, so frames come one at a time.
    """

    def __init__(self, room: int, past: LayerPast | None = None) -> None:
        """room: tokens in all, a whole number of frames, more than `past` has."""
        self.room, self.tokens, self.next = room, 0, 0
        self._key_BMXd = self._value_BMXd = torch.empty(0)
        if past is not None:
            self.add(past.key_BMXd, past.value_BMXd)

    @property
    def key_BMXd(self) -> Tensor:
        """What is kept."""
        return self._key_BMXd[:, :, : self.tokens]

    @property
    def value_BMXd(self) -> Tensor:
        """What is kept."""
        return self._value_BMXd[:, :, : self.tokens]

    def add(self, key_BMXd: Tensor, value_BMXd: Tensor) -> RollingPast:
        """With a later frame in it: itself."""
        if not self.tokens:
            batch, heads, _, width = key_BMXd.shape
            self._key_BMXd = key_BMXd.new_empty(batch, heads, self.room, width)
            self._value_BMXd = value_BMXd.new_empty(batch, heads, self.room, width)
        end = self.next + key_BMXd.shape[2]
        assert end <= self.room, "a frame lies across the end"
        self._key_BMXd[:, :, self.next : end] = key_BMXd
        self._value_BMXd[:, :, self.next : end] = value_BMXd
        self.tokens, self.next = max(self.tokens, end), end % self.room
        return self

    def last(self, _tokens: int) -> RollingPast:
        """Itself: what is too old gives way when the next frame comes."""
        return self


Past = LayerPast | RollingPast


@dataclass(frozen=True)
class KeyValueCache:
    """What all layers of a stack keep. frames: how many frames have passed in all."""

    layers: tuple[Past, ...] = ()
    frames: int = 0

    @property
    def nbytes(self) -> int:
        """What is kept, in bytes."""
        return sum(layer.key_BMXd.nbytes + layer.value_BMXd.nbytes for layer in self.layers)

    def kept_frames(self, tokens: int) -> int:
        """How many frames are still held (a window may have dropped the oldest)."""
        return self.layers[0].key_BMXd.shape[2] // tokens if self.layers else 0

    def expand(self, copies: int) -> KeyValueCache:
        """The same past for `copies` candidates of each clip, (B, ...) to (B * copies, ...)."""
        assert all(isinstance(layer, LayerPast) for layer in self.layers), "one that rolls has one way on"
        several = lambda x: x.repeat_interleave(copies, dim=0)
        layers = tuple(LayerPast(several(layer.key_BMXd), several(layer.value_BMXd)) for layer in self.layers)
        return KeyValueCache(layers, self.frames)
