"""A toy protocol behind the seam: the leader is fixed, a majority of disks commits.

The voter with the lowest sid leads, and there is no other: while it is away, nobody is served. It sends an entry once
its own disk has it, so no log is ever ahead of its log, which stays in memory. A cell counts its starts, its epochs.
"""

from ast import literal_eval
from collections import deque

from recipes.core import replication as seam
from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.link import Link


def send(link, *message):
    return link and link.send(frame(repr(message).encode()))


# fmt: off
class ToyReplica:
    def __init__(self, settings, found, now_ms):
        self.settings, self.now_ms, self.deadline_ms = settings, now_ms, now_ms
        self.leader_sid = min(settings.membership.voters)
        self.listening = self.leads = settings.sid == self.leader_sid
        self.role, self.serving, self.why_looking = "looking", False, "it has just started"
        self.epoch = int(found.cells["toyEpoch"]) + self.leads
        self.committed = self.applied = found.applied_zxid
        self.last_zxid = self.flushed_zxid = found.last_zxid
        self.log, self.unapplied, self.touches = list(found.history), deque(found.history), {}
        self.syncs, self.asked = deque(), deque()  # waiting for a zxid to be applied; waiting for the leader's answer
        self.serves_from = None  # the zxid that is to be applied before clients are served
        self.ready, self.outbox, self.links, self.acked, self.next_key = seam.Ready(), seam.Outbox(), {}, {}, 0
        if self.leads:
            self.ready.writes.append(seam.Cell("toyEpoch", b"%d" % self.epoch))

    leader_is_ours = True
    leader = property(lambda self: self if self.leads else None)
    learner = property(lambda self: self if self.links and not self.leads else None)
    own = property(lambda self: next(iter(self.links.values()), None))  # a follower's link to the leader

    def begin_turn(self, now_ms): self.now_ms = now_ms

    def tick(self):
        self.deadline_ms = self.now_ms + self.settings.tick_ms // 2
        for link in list(self.links.values()):
            if self.now_ms - link.heard_ms > self.settings.sync_limit * self.settings.tick_ms:
                link.close()
            elif self.leads:
                send(link, "ping")
        if not self.leads and not self.links:
            self.outbox.dial = self.leader_sid

    def accept(self):
        self.next_key += 1
        link = Link(self, self.next_key, FrameReader(1 << 20), self.take, self.gone)
        return self.links.setdefault(link.key, link)

    def dialled(self, sid):
        if self.links:
            return None
        send(self.accept(), "join", self.settings.sid, self.last_zxid)
        return self.own

    def ignore(self, *_): ...
    dial_failed = notified = unreachable = no_space = note = ignore

    def take_outbox(self):
        outbox, self.outbox = self.outbox, seam.Outbox()
        return outbox

    def status(self): return seam.ReplicaStatus(self.role, self.last_zxid, self.leader_sid)

    def take_ready(self):
        ready, self.ready = self.ready, seam.Ready()
        return ready

    def flushed(self, zxid):
        sent, self.flushed_zxid = self.flushed_zxid, zxid
        for link in self.links.values():
            self.send_log(link, sent)
        self.count() if self.leads else self.acknowledge()

    def written(self, cell, last_zxid):
        self.serves_from = self.last_zxid  # the epoch is stored: all that is logged must be committed first
        self.count()

    def remember(self, most_bytes):
        return 0  # it keeps all of its log

    def in_touch(self, timeout_ms):
        return self.leads or (self.own is not None and self.now_ms - self.own.heard_ms <= timeout_ms // 3)

    def sync(self, token, session_id, cxid, body, ids):
        if self.leads:
            self.syncs.append((self.last_zxid, token))
            self.release()
        else:
            self.asked.append(token)
            self.forward(session_id, cxid, op.SYNC, body, ids)

    def propose(self, entry):
        self.last_zxid = entry.zxid
        for each in (self.log, self.unapplied, self.ready.writes):
            each.append(entry)

    def answer_revalidate(self, link, session_id, valid): send(self.links.get(link), "revalidated", session_id, valid)
    def sync_learner(self, link): send(self.links.get(link), "synced", self.last_zxid)

    def forward(self, session_id, cxid, kind, body, ids):
        send(self.own, "request", session_id, cxid, kind, body, ids)
        return self.last_zxid

    def touch(self, session_id, timeout_ms): self.touches[session_id] = timeout_ms
    def revalidate(self, session_id, timeout_ms): send(self.own, "revalidate", session_id, timeout_ms)

    def take(self, link, payload):
        try:
            message = literal_eval(payload.decode())
        except (ValueError, SyntaxError) as error:
            raise WireError("it is no literal") from error
        match message:
            case "join", sid, last_zxid:
                link.sid, self.acked[sid] = sid, last_zxid
                self.send_log(link, last_zxid)
                self.tell(link)
            case "ack", *_ if link.sid == -1:
                link.close()
            case "ack", zxid, touches:
                self.acked[link.sid] = zxid
                self.ready.events.append(seam.SessionsTouched(touches))
                self.count()
            case "request", *request:
                self.ready.events.append(seam.Forwarded(link.key, *request))
            case "revalidate", session_id, timeout_ms:
                self.ready.events.append(seam.Revalidate(link.key, session_id, timeout_ms))
            case "entry", zxid, payload:
                self.propose(seam.Entry(zxid, payload))
            case "committed", zxid, epoch:
                self.committed, self.epoch = zxid, epoch
                self.serves_from = self.committed if self.serves_from is None else self.serves_from
                self.release()
            case ("ping",):
                self.acknowledge()
            case "synced", zxid:
                self.syncs.append((zxid, self.asked.popleft()))
                self.release()
            case "revalidated", session_id, valid:
                self.ready.events.append(seam.Revalidated(session_id, valid))

    def send_log(self, link, behind):
        for entry in self.log if link.sid != -1 else ():  # one that has joined
            if behind < entry.zxid <= self.flushed_zxid:
                send(link, "entry", entry.zxid, entry.payload)

    def tell(self, link):
        if self.serving:  # before that, less may be known to be committed than clients have seen
            send(link, "committed", self.committed, self.epoch)

    def acknowledge(self):
        send(self.own, "ack", self.flushed_zxid, list(self.touches.items()))
        self.touches = {}
        self.release()

    def count(self):
        held = {link.sid: self.acked.get(link.sid, -1) for link in self.links.values()}
        committed = self.settings.membership.committed(held | {self.settings.sid: self.flushed_zxid})
        if committed > self.committed or (committed == self.committed and not self.serving):
            self.committed = committed
            self.release()
            for link in self.links.values():
                self.tell(link)

    def release(self):
        while True:
            if self.syncs and self.syncs[0][0] <= self.applied:
                self.ready.commits.append(seam.Synced(self.syncs.popleft()[1]))
            elif self.unapplied and self.unapplied[0].zxid <= min(self.committed, self.flushed_zxid):
                self.applied = self.unapplied[0].zxid
                self.ready.commits.append(self.unapplied.popleft())
            else:
                break
        if not self.serving and self.serves_from is not None and self.applied >= self.serves_from:
            self.role, self.serving = "leader" if self.leads else "follower", True
            self.ready.events.append(seam.RoleChanged(True))

    def touch_link(self, link):
        if link not in self.outbox.touched:
            self.outbox.touched.append(link)

    def gone(self, link):
        del self.links[link.key]
        if not self.leads:
            self.role, self.serves_from, self.why_looking = "looking", None, "the leader is gone"
            self.syncs, self.asked = deque(), deque()
            self.serving = False
            self.ready.events.append(seam.RoleChanged(False))
# fmt: on


NONE = {"toyEpoch": b"0"}
TOY = seam.ReplicationProtocol("toy", {"toyEpoch": [b"0"]}, lambda cells, *_: NONE | cells, False, ToyReplica)
