"""Every request body through random round trips: what the client writes, the server reads, and nothing is left over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.records import ACL, Id

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PATH = TEXT.map(str.encode)
DATA = st.none() | st.binary(max_size=40)
ACLS = st.lists(st.builds(ACL, INT, st.builds(Id, TEXT, TEXT)), max_size=3)
PATHS = st.lists(PATH, max_size=4)
BEFORE = st.binary(max_size=3)  # records are read from the middle of a frame


def entries(acl):
    return tuple((each.perms, each.id.scheme.encode(), each.id.id.encode()) for each in acl)


@given(BEFORE, PATH, DATA, ACLS, INT)
def test_create(before, path, data, acl, flags):
    body = before + rq.encode_create(path, data, acl, flags)
    assert rq.read_create_request(body, len(before)) == ((path, data, entries(acl), flags, -1), len(body))


@given(BEFORE, PATH, DATA, ACLS, INT, LONG)
def test_create_ttl(before, path, data, acl, flags, ttl_ms):
    body = before + rq.encode_create(path, data, acl, flags, ttl_ms)
    assert rq.read_create_request(body, len(before), True) == ((path, data, entries(acl), flags, ttl_ms), len(body))


@given(BEFORE, PATH, INT)
def test_delete_and_check(before, path, version):
    body = before + rq.encode_path_version(path, version)
    assert rq.read_path_version(body, len(before)) == (path, version, len(body))


@given(BEFORE, PATH, INT)
def test_add_watch_check_watches_and_remove_watches(before, path, kind):
    body = before + rq.encode_watch_kind(path, kind)
    assert rq.read_path_version(body, len(before)) == (path, kind, len(body))


@given(BEFORE, PATH, st.booleans())
def test_exists_get_data_and_get_children(before, path, watch):
    body = before + rq.encode_path_watch(path, watch)
    assert rq.read_path_watch(body, len(before)) == (path, watch, len(body))


@given(BEFORE, PATH)
def test_sync_and_others_of_a_path_alone(before, path):
    body = before + rq.encode_path(path)
    assert rq.decode_path(body, len(before)) == (path, len(body))


@given(BEFORE, PATH, DATA, INT)
def test_set_data(before, path, data, version):
    body = before + rq.encode_set_data(path, data, version)
    assert rq.read_set_data(body, len(before)) == (path, data, version, len(body))


@given(BEFORE, PATH, ACLS, INT)
def test_set_acl(before, path, acl, version):
    body = before + rq.encode_set_acl(path, acl, version)
    assert rq.read_set_acl(body, len(before)) == (path, entries(acl), version, len(body))


@given(BEFORE, PATH, st.binary(max_size=40))
def test_auth(before, scheme, credentials):
    body = before + rq.encode_auth(scheme, credentials)
    assert rq.read_auth(body, len(before)) == (scheme, credentials, len(body))


@given(BEFORE, LONG, PATHS, PATHS, PATHS)
def test_set_watches(before, zxid, data, exist, child):
    body = before + rq.encode_set_watches(zxid, data, exist, child)
    assert rq.read_set_watches(body, len(before), 3) == (zxid, [data, exist, child])


@given(BEFORE, LONG, PATHS, PATHS, PATHS, PATHS, PATHS)
def test_set_watches2(before, zxid, data, exist, child, persistent, recursive):
    body = before + rq.encode_set_watches(zxid, data, exist, child, persistent, recursive)
    assert rq.read_set_watches(body, len(before), 5) == (zxid, [data, exist, child, persistent, recursive])


OPERATIONS = st.one_of(
    st.tuples(st.just(op.SET_DATA), PATH, DATA, INT),
    st.tuples(st.sampled_from([op.DELETE, op.CHECK]), PATH, INT),
    st.tuples(st.sampled_from([op.GET_DATA, op.GET_CHILDREN]), PATH, st.booleans()),
)
WRITERS = {op.SET_DATA: rq.encode_set_data, op.DELETE: rq.encode_path_version, op.CHECK: rq.encode_path_version}
READERS = {op.SET_DATA: rq.read_set_data, op.DELETE: rq.read_path_version, op.CHECK: rq.read_path_version}


@given(BEFORE, st.lists(OPERATIONS, max_size=5))
def test_multi_and_multi_read(before, operations):
    body = before + rq.encode_multi(
        [(kind, WRITERS.get(kind, rq.encode_path_watch)(*fields)) for kind, *fields in operations]
    )
    found, at = [], len(before)
    while True:
        kind, done, err, at = rq.read_multi_header(body, at)
        assert err == -1
        if done:
            break
        *fields, at = READERS.get(kind, rq.read_path_watch)(body, at)
        found.append((kind, *fields))
    assert found == operations
    assert at == len(body)


SAMPLES = {
    "create": (rq.encode_create(b"/a", b"x", [ACL(31, Id("world", "anyone"))], 0), rq.read_create_request),
    "delete": (rq.encode_path_version(b"/a", 1), rq.read_path_version),
    "exists": (rq.encode_path_watch(b"/a", True), rq.read_path_watch),
    "sync": (rq.encode_path(b"/a"), rq.decode_path),
    "set": (rq.encode_set_data(b"/a", b"x", 1), rq.read_set_data),
    "set_acl": (rq.encode_set_acl(b"/a", [ACL(31, Id("world", "anyone"))], 1), rq.read_set_acl),
    "auth": (rq.encode_auth(b"digest", b"a:b"), rq.read_auth),
    "set_watches": (
        rq.encode_set_watches(1, [b"/a"], [], [b"/b"]),
        lambda data, at: rq.read_set_watches(data, at, 3),
    ),
    "multi": (rq.MULTI_END, rq.read_multi_header),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_body_cut_short_is_refused_at_every_length(name):
    body, read = SAMPLES[name]
    read(body, 0)
    for size in range(len(body)):
        with pytest.raises(WireError):
            read(body[:size], 0)
