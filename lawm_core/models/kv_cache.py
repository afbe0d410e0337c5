"""Key-value cache of a frame-causal transformer.

Keys and values of a frame do not depend on later frames, so results with and without a cache are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerCache:
    """Keys and values of one layer, oldest tokens first. It is immutable, so several rollouts can continue from it."""

    key_BMXd: Tensor
    value_BMXd: Tensor

    def append(self, key_BMXd: Tensor, value_BMXd: Tensor) -> LayerCache:
        """Return a new cache with the keys and values of later tokens appended."""
        key_BMXd = torch.cat((self.key_BMXd, key_BMXd), dim=2)
        return LayerCache(key_BMXd, torch.cat((self.value_BMXd, value_BMXd), dim=2))

    def keep_last(self, tokens: int) -> LayerCache:
        """Return a cache with only the last `tokens` tokens, or all if there are fewer."""
        start = self.key_BMXd.shape[2] - tokens
        if start <= 0:  # a slice of everything would cost a copy in the backward pass
            return self
        return LayerCache(self.key_BMXd[:, :, start:], self.value_BMXd[:, :, start:])


class RollingLayerCache:
    """Keys and values of one layer in a ring buffer, which is allocated once, for a single rollout.

    The buffer holds the frames of an attention window, including the current frame. When it is full, a new frame
    replaces the oldest one, so the frames are not in order. A single new frame attends to all of them, for which order
    does not matter; several new frames at once would need to know which are earlier.
    """

    def __init__(self, capacity_tokens: int, start: LayerCache | RollingLayerCache | None = None) -> None:
        """Allocate the buffer and copy `start` into it.

        capacity_tokens: number of tokens that the buffer can hold, a whole number of frames and larger than `start`.
        """
        self.capacity_tokens, self.tokens, self.next = capacity_tokens, 0, 0
        self._key_BMXd = self._value_BMXd = torch.empty(0)
        if start is not None:
            self.append(start.key_BMXd, start.value_BMXd)

    @property
    def key_BMXd(self) -> Tensor:
        """The cached keys, not in order of time."""
        return self._key_BMXd[:, :, : self.tokens]

    @property
    def value_BMXd(self) -> Tensor:
        """The cached values, in the same order as the keys."""
        return self._value_BMXd[:, :, : self.tokens]

    def append(self, key_BMXd: Tensor, value_BMXd: Tensor) -> RollingLayerCache:
        """Write the keys and values of one new frame into the buffer, and return this cache, modified in place."""
        if not self.tokens:
            batch, heads, _, width = key_BMXd.shape
            self._key_BMXd = key_BMXd.new_empty(batch, heads, self.capacity_tokens, width)
            self._value_BMXd = value_BMXd.new_empty(batch, heads, self.capacity_tokens, width)
        end = self.next + key_BMXd.shape[2]
        assert end <= self.capacity_tokens, "a frame must not wrap around the end of the buffer"
        self._key_BMXd[:, :, self.next : end] = key_BMXd
        self._value_BMXd[:, :, self.next : end] = value_BMXd
        self.tokens, self.next = max(self.tokens, end), end % self.capacity_tokens
        return self

    def keep_last(self, _tokens: int) -> RollingLayerCache:
        """Return this cache unchanged. Nothing needs to be dropped, because a new frame replaces the oldest one."""
        return self


AnyLayerCache = LayerCache | RollingLayerCache


@dataclass(frozen=True)
class KeyValueCache:
    """Caches of all layers of a transformer.

    frames: number of frames seen so far, including those that are no longer cached.
    """

    layers: tuple[AnyLayerCache, ...] = ()
    frames: int = 0

    @property
    def nbytes(self) -> int:
        """Size of the cached keys and values in bytes."""
        return sum(layer.key_BMXd.nbytes + layer.value_BMXd.nbytes for layer in self.layers)

    def kept_frames(self, tokens: int) -> int:
        """Return how many frames, of `tokens` tokens each, are cached. Frames outside the window have been dropped."""
        return self.layers[0].key_BMXd.shape[2] // tokens if self.layers else 0

    def repeat(self, copies: int) -> KeyValueCache:
        """Repeat each clip `copies` times along the batch: (B, ...) to (B * copies, ...)."""
        assert all(isinstance(layer, LayerCache) for layer in self.layers), "a rolling cache is for one rollout only"
        several = lambda x: x.repeat_interleave(copies, dim=0)
        layers = tuple(LayerCache(several(layer.key_BMXd), several(layer.value_BMXd)) for layer in self.layers)
        return KeyValueCache(layers, self.frames)

    def rolling(self, depth: int, capacity_tokens: int) -> KeyValueCache:
        """Return a copy of the cache in ring buffers that can hold `capacity_tokens` tokens, one for each layer.

        depth: number of layers, which an empty cache does not know.
        """
        layers = self.layers or (None,) * depth
        return KeyValueCache(tuple(RollingLayerCache(capacity_tokens, layer) for layer in layers), self.frames)

    def split(self, depth: int) -> tuple[KeyValueCache, KeyValueCache]:
        """Return the caches of the first `depth` layers and of the others."""
        return KeyValueCache(self.layers[:depth], self.frames), KeyValueCache(self.layers[depth:], self.frames)

    @staticmethod
    def join(first: KeyValueCache, second: KeyValueCache) -> KeyValueCache:
        """Return the cache of two transformers that process the same frames one after the other."""
        return KeyValueCache(first.layers + second.layers, first.frames)
