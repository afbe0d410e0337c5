"""A client without a browser."""

from collections.abc import Iterator

import pytest

from devtools.api_client import PageClient


@pytest.fixture
def client(server) -> Iterator[PageClient]:
    """A session of the page. At the end, the server must be running and no response may have been an HTTP 5xx."""
    session = PageClient(server.address)
    yield session
    session.close()
    assert server.is_running() and not any(status >= 500 for status in session.statuses), session.statuses
