"""A write request on its way: from the client's connection to the txn that it becomes."""

from recipes.core.jute.records import Ids


class Request:
    """One write request of a session, from a client here or forwarded by a learner.

    body: the record behind the request header. ids: the identities of its connection.
    origin: the object to notify of the outcome; the Preparer ignores it.
    link: of the learner that forwarded it; 0 where it came to this server, None where the leader made it itself.
    zxid: of its txn; before there is a txn, a lower bound for its zxid.
    """

    __slots__ = ("arrived_ms", "body", "cxid", "ids", "link", "op", "origin", "session_id", "zxid")

    def __init__(
        self,
        session_id: int,
        cxid: int,
        kind: int,
        body: bytes,
        ids: Ids = (),
        origin: object = None,
        arrived_ms: int = 0,
        link: int | None = 0,
    ) -> None:
        self.link: int | None = link
        self.session_id: int = session_id
        self.cxid: int = cxid
        self.op: int = kind
        self.body: bytes = body
        self.ids: Ids = ids
        self.origin: object = origin
        self.arrived_ms: int = arrived_ms
        self.zxid: int = 0
