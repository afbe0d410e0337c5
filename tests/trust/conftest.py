"""Visitors without a browser."""

from collections.abc import Iterator

import pytest

from benchmarks.trust.visitor import Visitor


@pytest.fixture
def visitor(server) -> Iterator[Visitor]:
    """A visitor; whatever it did, the server lives and did not fail."""
    guest = Visitor(server.address)
    yield guest
    guest.close()
    assert server.alive() and not any(status >= 500 for status in guest.statuses), guest.statuses
