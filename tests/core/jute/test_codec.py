"""Vectors of strings, which have a loop of their own, beside vectors in general."""

import random

import pytest

from recipes.core.errors import WireError
from recipes.core.jute.codec import pack_int, read_string, read_strings, read_vector, write_strings


def outcome(read, data, at):
    try:
        return read(data, at)
    except WireError as error:
        return str(error)


def same(data, at):
    found = outcome(read_strings, data, at)
    assert found == outcome(lambda data, at: read_vector(data, at, read_string, smallest=4), data, at)
    return found


@pytest.mark.parametrize("strings", [[], [b""], [b"a", b"", b"\xc3\xa9" * 200, b"z"], None])
def test_strings_are_read_as_any_vector_also_when_they_are_cut_at_any_place(strings):
    data = b"??" + write_strings(strings)
    assert same(data + b"more", 2) == (strings, len(data))
    for end in range(2, len(data)):
        assert isinstance(same(data[:end], 2), str)


@pytest.mark.parametrize("length", [-1, -2, -0x80000000, 0x7FFFFFFF])
def test_a_string_of_no_length_is_named_as_in_any_vector(length):
    data = pack_int(2) + pack_int(1) + b"a" + pack_int(length) + b"bcd"
    assert isinstance(same(data, 0), str)


def test_any_bytes_are_read_as_any_vector():
    chance = random.Random(1)
    kinds = set()
    for _ in range(2_000):
        count = pack_int(chance.randrange(-2, 4))
        data = count + b"".join(pack_int(chance.randrange(-1, 5)) + b"ab" for _ in range(chance.randrange(5)))
        kinds.add(type(same(data, 0)))
    assert kinds == {tuple, str}
