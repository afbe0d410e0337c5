"""The app as people start it, and visitors without a browser."""

from collections.abc import Iterator

import pytest

from benchmarks.serving import Server, served
from benchmarks.trust.visitor import Visitor


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """The app with the model and the gallery that it ships."""
    with served(folder=tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture
def visitor(server) -> Iterator[Visitor]:
    """A visitor; whatever it did, the server lives and did not fail."""
    guest = Visitor(server.address)
    yield guest
    guest.close()
    assert server.alive() and not any(status >= 500 for status in guest.statuses), guest.statuses
