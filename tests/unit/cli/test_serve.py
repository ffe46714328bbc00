"""`bakeoff serve` before it serves."""

import pytest

from bakeoff.cli import serve


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_who_listens_on_this_machine_only(host: str) -> None:
    assert serve.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])
def test_who_can_be_reached_from_elsewhere(host: str) -> None:
    assert not serve.is_loopback(host)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"),
     ("::1", "http://[::1]:80"), ("shop.example", "http://shop.example:80")],
)  # fmt: skip
def test_the_address_that_is_shown_can_be_typed(host: str, url: str) -> None:
    assert serve._url(host, 80) == url
