"""Parts of the store in memory: a znode, its children, a subtree."""

from recipes.cache.changes import Change, ChangeKind, Changes
from recipes.cache.children import ChildrenCache
from recipes.cache.node import NodeCache
from recipes.cache.tree import TreeCache

__all__ = ["Change", "ChangeKind", "Changes", "ChildrenCache", "NodeCache", "TreeCache"]
