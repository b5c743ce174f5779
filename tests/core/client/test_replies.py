"""Lists and multiReads are decoded in one go where that is safe; it gives what the plain decoder gives."""

from hypothesis import given
from hypothesis import strategies as st

from recipes.core.client.replies import read_names, read_nodes
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import NULL, pack_int, texts, write_buffer, write_strings
from recipes.core.jute.records import Stat, encode_stat

STAT = Stat(*range(1, 12))
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=140)


@given(st.lists(NAMES))
def test_names_are_those_of_the_plain_decoder(names):
    body = write_strings([name.encode() for name in names])
    assert read_names(b"head" + body, 4) == sorted(texts(rq.decode_children(body, 0)[0])) == sorted(names)


def test_no_name_and_a_null_list_are_empty_lists():
    assert read_names(write_strings([]), 0) == [] == read_names(NULL, 0)


@given(st.lists(st.text("ab", max_size=3)), st.data())
def test_bytes_that_are_no_list_of_names_are_what_the_plain_decoder_makes_of_them(names, data):
    """Such as lengths that do not fit, an empty name, or something behind the list."""
    body = bytearray(write_strings([name.encode() for name in names]) + data.draw(st.binary(max_size=3)))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    def outcome(read):
        try:
            return read()
        except Exception as error:
            return type(error)

    plain = outcome(lambda: sorted(texts(rq.decode_children(bytes(body), 0)[0])))
    assert outcome(lambda: read_names(bytes(body), 0)) == plain


def node(data: bytes) -> bytes:
    return rq.pack_multi_header(op.GET_DATA, 0) + write_buffer(data) + encode_stat(STAT)


@given(st.lists(st.binary(max_size=20)))
def test_znodes_of_a_multi_read(found):
    reply = b"head" + b"".join(map(node, found)) + rq.MULTI_END
    assert (
        read_nodes(reply, 4) == [value for _, _, value in rq.decode_multi(reply, 4)] == [(data, STAT) for data in found]
    )


def test_a_multi_read_with_an_error_or_a_list_or_cut_short_is_left_to_the_plain_decoder():
    error = rq.pack_multi_header(op.ERROR, -101) + pack_int(-101)
    children = rq.pack_multi_header(op.GET_CHILDREN, 0) + write_strings([b"a"])
    for other in (error, children):
        assert read_nodes(node(b"x") + other + rq.MULTI_END, 0) is None
    whole = node(b"x") + node(b"y") + rq.MULTI_END
    assert all(read_nodes(whole[:size], 0) is None for size in range(len(whole)))
