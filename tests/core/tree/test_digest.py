from struct import pack
from zlib import crc32

from recipes.core.tree.acl import OPEN_ACL, READ_ONLY_ACL
from recipes.core.tree.digest import node_digest
from recipes.core.tree.tree import DataTree
from recipes.core.tree.znode import ZNode


def test_empty_database_has_the_digest_apache_computes():
    nodes = DataTree().nodes
    assert sum(node_digest(path, node) for path, node in nodes.items()) == 0x51C6D660


def test_fields_are_in_the_order_of_the_digest_not_of_the_stat():
    node = ZNode(b"data", OPEN_ACL, 1, 4, owner=-9)
    node.mzxid, node.pzxid, node.mtime = 2, 3, 5
    node.version, node.cversion, node.aversion = 6, 7, 8
    assert node_digest(b"/a", node) == crc32(b"/adata" + pack(">qqqqqiiiq", 1, 2, 3, 4, 5, 6, 7, 8, -9))


def test_root_counts_with_an_empty_path():
    node = ZNode(b"", OPEN_ACL, 0, 0)
    assert node_digest(b"/", node) == crc32(bytes(60))


def test_only_what_is_below_zookeeper_is_left_out():
    node = ZNode(b"x", OPEN_ACL, 1, 1)
    assert node_digest(b"/zookeeper/quota", node) == 0
    assert node_digest(b"/zookeeper", node) != 0
    assert node_digest(b"/zookeeper2", node) != 0


def test_null_data_counts_like_empty_data_and_the_acl_not_at_all():
    assert node_digest(b"/a", ZNode(None, OPEN_ACL, 1, 1)) == node_digest(b"/a", ZNode(b"", READ_ONLY_ACL, 1, 1))
