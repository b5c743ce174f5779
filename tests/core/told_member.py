"""In place of a Member, and of the Replica beside it: decides what a test says, and keeps what it is told."""

from recipes.core.member.stats import Stats
from recipes.core.member.store_memory import StoreMemory
from recipes.core.outbox import Outbox


class ToldMember:
    """decided: what its next turn puts on disk. told: the calls that came back, in order. room: as told last."""

    def __init__(self, told=None):
        self.now_ms = 0
        self.disk_full = False
        self.memory = StoreMemory(0)
        self.stats = Stats()
        self.has_work = False
        self.tree = None
        self.decided = []
        self.touched = []
        self.told = [] if told is None else told

    def begin_turn(self, now_ms, wall_ms):
        self.now_ms = now_ms

    def tick(self):
        self.told.append("tick")

    def measure_memory(self):
        return None

    def stalled(self, by_ms):
        self.told.append(f"stalled {by_ms}")

    def take_writes(self):
        decided, self.decided = self.decided, []
        return decided

    def count_writes(self, writes):
        pass

    def count_commits(self):
        pass

    def take_touched(self):
        touched, self.touched = self.touched, []
        return touched

    def flushed(self, zxid):
        self.told.append(zxid)

    def written(self, operation, tree):
        self.told.append((operation, tree))

    def no_space(self, full):
        self.disk_full = full
        self.told.append("no room" if full else "room")


class ToldReplica:
    """outbox: what its next turn has for the network. deadline_ms: when it wants a tick."""

    deadline_ms = None

    def __init__(self, told=None):
        self.outbox = Outbox()
        self.told = [] if told is None else told

    def begin_turn(self, now_ms):
        pass

    def tick(self):
        self.told.append("replica's tick")

    def take_outbox(self):
        outbox, self.outbox = self.outbox, Outbox()
        return outbox


class NoSnapshots:
    """None is ever due."""

    writing = False

    def is_due(self, txns, logged_bytes):
        return False
