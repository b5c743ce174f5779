"""Groups and their members, service discovery, and the division of work among members."""

from recipes.membership.group import Group, Member, Stay
from recipes.membership.partitioner import Partition, Partitioner
from recipes.membership.presence import EphemeralNode, Presence
from recipes.membership.ring import HashRing
from recipes.membership.services import Provider, Registration, ServiceInstance, ServiceRegistry
from recipes.membership.ttl import TtlNode

__all__ = [
    "EphemeralNode",
    "Group",
    "HashRing",
    "Member",
    "Partition",
    "Partitioner",
    "Presence",
    "Provider",
    "Registration",
    "ServiceInstance",
    "ServiceRegistry",
    "Stay",
    "TtlNode",
]
