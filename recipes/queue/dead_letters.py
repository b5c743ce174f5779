"""Dead letters: items that were handed out too often, or cannot be read, in a queue of their own."""

from typing import TYPE_CHECKING

from recipes.core.errors import ConnectionLoss
from recipes.queue import claims
from recipes.queue.records import Record

if TYPE_CHECKING:
    from recipes.core.client.multi import Multi
    from recipes.queue.finder import Delivery
    from recipes.queue.native import Native

_MOST_TRIES = 20
_LONGEST_REASON = 500  # characters, so that no reason makes an item too large


async def bury(native: "Native", dead: "Native", delivery: "Delivery", reason: str) -> bool:
    """Move an item that this client has claimed to the dead letters, in one multi; False when the claim was lost.

    Its key stays taken; its room in the queue's capacity becomes free.
    """
    await dead.prepare()
    item, record = delivery.item, delivery.record
    priority = int(delivery.bucket[:3])
    stored = delivery.stored_at
    buried = record._replace(
        reason=reason[:_LONGEST_REASON],
        attempts=item.deliveries + (delivery.handed_out and not delivery.why_dead),
        priority=priority,
        put_ms=record.put_ms or (stored.ctime if stored else 0),
    )
    changes = claims.acknowledge(item) if delivery.handed_out else claims.remove(item, claimed=True)
    leaving = native.buckets.operations(delivery.bucket, changes)
    native.room.free(leaving)
    return await _move(native, dead, buried, 0, leaving)


async def redrive(dead: "Native", native: "Native", delivery: "Delivery") -> bool:
    """Move a dead letter that this client has claimed back to its queue, as if it had never been handed out."""
    await native.prepare()
    record = delivery.record
    fresh = record._replace(reason="", attempts=0, priority=100)
    changes = claims.remove(delivery.item, claimed=True)
    leaving = dead.buckets.operations(delivery.bucket, changes)
    return await _move(dead, native, fresh, record.priority, leaving)


async def _move(source: "Native", target: "Native", record: Record, priority: int, leaving: "Multi") -> bool:
    for _ in range(_MOST_TRIES):
        room = await target.room.reserve(1)
        moving, placing = await target.moving_here(record, priority)
        arriving = moving.count
        moving.extend(leaving)
        moving.extend(room)
        write = await source.writer.write(moving, keep=True, shows=True)
        if write.error is None:
            last = write.results[arriving - 1] if write.results else None
            if isinstance(last, str):
                target.buckets.put(last)
            return True
        if write.failed_at < placing:
            target.buckets.forget(priority)
        elif write.failed_at < arriving + leaving.count:
            return False  # the claim is gone
    raise ConnectionLoss(f"other clients were quicker at each of {_MOST_TRIES} attempts", path=target.path)
