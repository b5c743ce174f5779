"""Who belongs to a group, and what belongs to whom."""

from recipes.membership.group import Group, Member
from recipes.membership.presence import EphemeralNode, Presence
from recipes.membership.ring import HashRing

__all__ = ["EphemeralNode", "Group", "HashRing", "Member", "Presence"]
