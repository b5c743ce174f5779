"""What a string of hosts says."""

import pytest

from recipes.core.client.hosts import parse_hosts
from recipes.core.errors import BadArguments


@pytest.mark.parametrize(
    ("text", "hosts", "chroot"),
    [
        ("a", [("a", 2181)], ""),
        ("a:1, b", [("a", 1), ("b", 2181)], ""),
        ("[::1]:5,[::2]", [("::1", 5), ("::2", 2181)], ""),
        ("a:1/", [("a", 1)], ""),
        ("a,b:2/x/y", [("a", 2181), ("b", 2)], "/x/y"),
    ],
)
def test_hosts_and_chroot(text, hosts, chroot):
    assert parse_hosts(text) == (hosts, chroot)


@pytest.mark.parametrize("text", ["", "a:", "a:x", "a:0", "a:65536", ":1", "a,,b", "a,"])
def test_a_host_that_is_none_is_named(text):
    with pytest.raises(BadArguments, match="expected HOST or HOST:PORT"):
        parse_hosts(text)


@pytest.mark.parametrize("chroot", ["/a/", "//", "/a//b", "/.."])
def test_a_chroot_that_is_none_is_named(chroot):
    with pytest.raises(BadArguments, match="not a chroot") as caught:
        parse_hosts("a:1" + chroot)
    assert caught.value.path == chroot
