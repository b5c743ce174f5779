"""Hosts and ports as text."""

import pytest

from recipes.core.address import split_address, with_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h", ("h", 2181)), (" h:1 ", ("h", 1)), ("[::1]", ("::1", 2181)), ("[::1]:65535", ("::1", 65535)),
        ("10.0.0.1:2182", ("10.0.0.1", 2182)),
    ],
)  # fmt: skip
def test_host_and_port(text, expected):
    assert split_address(text) == expected
    assert split_address(with_port(*expected)) == expected


@pytest.mark.parametrize(
    "text", ["", ":1", "h:", "h:0", "h:65536", "h:x", "h:-1", "h:\N{SUPERSCRIPT TWO}", "[::1", "[::1]1", "[]:1"]
)
def test_what_is_no_address_is_named(text):
    with pytest.raises(ValueError, match="expected HOST or HOST:PORT"):
        split_address(text)
