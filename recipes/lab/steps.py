"""The grammar of a scenario's steps: what a step can wait for, and what it can do."""

from collections.abc import Mapping
from typing import Any

Step = Mapping[str, Any]
MESSAGE_KEYS = frozenset({"role", "kind", "from", "to", "nth", "at"})
REPLY_KEYS = frozenset({"reply", "outcome"})
STATE_KEYS = frozenset({"state", "site"})
# An event by its number, as a run without the step has it: such a step is done beside the sequence of the others.
EVENT_KEYS = frozenset({"at_event"})
WHEN_KEYS = MESSAGE_KEYS | REPLY_KEYS | STATE_KEYS | EVENT_KEYS | {"at_ms"}
STAGES = ("sent", "arrives", "handled")
# What is done in the middle of an event, so that nothing comes between; all else is done as an event of its own.
AT_ONCE = frozenset({"crash", "power", "pause", "cut", "isolate", "drop", "hold"})
ACTIONS = AT_ONCE | {"call", "start", "resume", "heal", "release", "wipe", "expire", "loss", "note"}
