"""Matrices over the loop: the same short program again and again, with each reply lost in turn, or cancelled at each
await in turn, or with all empty containers removed before each request and at each await in turn. What follows is
checked for any recipe: the right result or an honest error, and nothing left behind.
"""

from collections.abc import Awaitable, Callable, Generator
from random import Random
from types import coroutine
from typing import Any, NamedTuple

import anyio

from recipes.core.errors import RecipesError
from recipes.core.jute import opcodes as op
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.loop import scopes_in_order
from recipes.core.sim.plan import draw_plan
from recipes.core.sim.process import Process
from recipes.core.tree.prepare import Request

LIMIT_US = 30_000_000


class Scene(NamedTuple):
    """What a matrix goes through.

    act(client): the operation. It gets a connected client, and must work a second time on it.
    rival(client): meanwhile, on a client of another process; it has begun, up to its first sleep, before `act` does,
    and is cancelled once all is over. keeps: where znodes may stay until the end of the session.
    """

    name: str
    act: Callable[[Any], Awaitable[object]]
    rival: Callable[[Any], Awaitable[object]] | None = None
    keeps: str = ""


class Outcome(NamedTuple):
    """What came of one run.

    result, error: of the operation; cancelled: it ended so. requests, awaits: how many it took. again: what it gave the
    second time. left: what it left behind, none of which may be there: ephemeral znodes, watches, scopes, tasks.
    took: virtual seconds up to its end.
    """

    result: object
    error: BaseException | None
    cancelled: bool
    requests: int
    awaits: int
    again: object
    left: list[str]
    took: float


def lose_each_reply(scene: Scene) -> Generator[tuple[int, Outcome], None, None]:
    """A run for each request of the operation, in which the connection breaks in place of its reply."""
    for number in range(1, run_scene(scene).requests + 1):
        yield number, run_scene(scene, lose=number)


def cancel_each_await(scene: Scene) -> Generator[tuple[str, int, Outcome], None, None]:
    """A run for each await of the operation, at which it is cancelled: by its task, and by a scope around it."""
    awaits = run_scene(scene).awaits
    for how in ("task", "scope"):
        for number in range(1, awaits + 1):
            yield how, number, run_scene(scene, cancel=number, how=how)


def lose_the_session_at_each_await(scene: Scene) -> Generator[tuple[int, Outcome], None, None]:
    """A run for each await of the operation, at which its process is cut off until its session has ended."""
    for number in range(1, run_scene(scene).awaits + 1):
        yield number, run_scene(scene, cancel=number, how="loss")


def remove_containers_meanwhile(scene: Scene) -> Generator[tuple[str, int, Outcome], None, None]:
    """A run for each request of the operation, and for each of its awaits: there all empty containers are removed."""
    whole = run_scene(scene)
    for number in range(1, whole.requests + 1):
        yield "request", number, run_scene(scene, remove=number)
    for number in range(1, whole.awaits + 1):
        yield "await", number, run_scene(scene, cancel=number, how="remove")


def run_scene(
    scene: Scene, lose: int | None = None, cancel: int | None = None, how: str = "task", remove: int | None = None
) -> Outcome:
    """One run. lose: number of the request of which the reply is lost, from 1 on.

    cancel: number of the await, from 1 on, at which it is interrupted; how: by its "task", by a "scope" around it, or
    by the "loss" of its session; or, with "remove", it goes on, and all empty containers are removed. remove: number of
    the request before which the server removes them.
    """

    def sources(purpose: str) -> Random:
        return Random(f"{scene.name}/{purpose}")

    plan = draw_plan(sources, 1, 0, 1)._replace(
        clients=0, operations=[], faults=[], rates_pm=(1000,), delay_us=1000, cut_probability=0.0, tick_ms=100
    )
    found: list[Outcome] = []
    with scopes_in_order():
        ensemble = Ensemble(plan, sources)
        ready = Ready(scene.rival is None)

        async def rival(process: Process) -> None:
            async with process.connect(4.0) as client, anyio.create_task_group() as tasks:
                tasks.start_soon(scene.rival, client)
                await anyio.sleep(0.02)
                ready.rival = True
                while not found:
                    await anyio.sleep(0.05)
                tasks.cancel_scope.cancel()

        async def main(process: Process) -> None:
            async with process.connect(4.0) as client:
                while not ready.rival:
                    await anyio.sleep(0.01)
                if remove is not None:
                    at = len(process.tap.kinds) + remove
                    process.tap.sending = lambda number: _remove_containers(ensemble) if number == at else None
                found.append(await _act(scene, process, client, ensemble, lose, cancel, how))

        processes = [Process(ensemble, 200, main, sources)]
        if scene.rival is not None:
            processes.append(Process(ensemble, 201, rival, sources))
        for process in processes:
            ensemble.timeline.at(400_000, process.start)
        while not all(process.done for process in processes):
            if ensemble.timeline.now_us > LIMIT_US:
                break
            ensemble.timeline.run_until(ensemble.timeline.now_us + 50_000)
        problems = [problem for process in processes for problem in process.problems()]
        problems += [f"{process} does not end" for process in processes if not process.done]
        for process in processes:
            process.bury()
    if not found:
        raise AssertionError(f"{scene.name}: {problems}")
    return found[0]._replace(left=[*found[0].left, *problems])


class Ready:
    """Whether the rival has begun."""

    def __init__(self, rival: bool) -> None:
        self.rival = rival


async def _act(
    scene: Scene, process: Process, client: Any, ensemble: Ensemble, lose: int | None, cancel: int | None, how: str
) -> Outcome:
    before = len(process.tap.kinds)
    if lose is not None:
        process.tap.lose.add(before + lose)
    result: object = None
    error: BaseException | None = None
    loop = process.loop
    began = loop.time()
    steps = Steps(cancel, lambda stop: loop.call_soon(stop))
    with anyio.CancelScope() as scope:
        task: Any = None

        async def go() -> object:
            return await steps.count(scene.act(client).__await__())

        if how != "scope":
            task = loop.create_task(go())
            interruptions = {
                "task": task.cancel,
                "loss": lambda: _cut_off(process, ensemble),
                "remove": lambda: _remove_containers(ensemble),
            }
            steps.stop = interruptions[how]
            while not task.done():
                await anyio.sleep(0.001)
        else:
            steps.stop = scope.cancel
            try:
                result = await go()
            except RecipesError as problem:
                error = problem
    cancelled = scope.cancelled_caught
    if task is not None:
        cancelled = task.cancelled()
        error = None if cancelled else task.exception()
        result = None if cancelled or error else task.result()
    took = loop.time() - began
    requests = len(process.tap.kinds) - before
    process.tap.lose.clear()
    await anyio.sleep(1.0)  # clean-up may go on elsewhere
    if how == "loss" and cancel is not None:
        while client.session.id in ensemble.ledger.reference.tree.sessions:
            await anyio.sleep(0.1)
    left = [what for what in _left(client, ensemble) if not (scene.keeps and what.startswith(scene.keeps))]
    # A task of its own, which nobody cancels: the operation works again on the same client.
    again = None if client.session.lost else await loop.create_task(_again(scene, client))
    await anyio.sleep(0.5)
    return Outcome(result, error, cancelled, requests, steps.number, again, left, took)


def _cut_off(process: Process, ensemble: Ensemble) -> None:
    """Nothing goes to any server or comes from one, for longer than a session lasts."""
    network = ensemble.network
    directions = [each for sid in ensemble.nodes for each in ((sid, process.site), (process.site, sid))]
    network.block(directions)
    ensemble.timeline.after(6_000_000, network.unblock, directions)


def _remove_containers(ensemble: Ensemble) -> None:
    """The server's check for empty containers, now; it also removes those in which nothing ever was."""
    (node,) = ensemble.nodes.values()

    def remove() -> None:
        for path in sorted(node.member.tree.containers, key=len, reverse=True):
            # The leader's own way, without its tick: it refuses the removal of those that are not empty.
            node.member.leading.propose(Request(0, 0, op.DELETE_CONTAINER, path), node.member.wall_ms)

    ensemble.timeline.after(1, node.take, remove)


async def _again(scene: Scene, client: Any) -> object:
    return await scene.act(client)


def _left(client: Any, ensemble: Ensemble) -> list[str]:
    """What of a session is in the store, and on the client, when nothing goes on."""
    session = client.session
    znodes = ensemble.ledger.reference.tree.ephemerals.get(session.id, ())
    watches = [f"watch on {path.decode()}" for table in session.watches.values() for path in table]
    return [*sorted(path.decode() for path in znodes), *watches, *(f"scope {key}" for key in session.scopes)]


class Steps:
    """Counts the awaits at which a coroutine stands still, and has it cancelled at one of them."""

    def __init__(self, cancel_at: int | None, soon: Callable[[Callable[[], object]], object]) -> None:
        self.number = 0
        self.stop: Callable[[], object]
        self._cancel_at = cancel_at
        self._soon = soon

    @coroutine
    def count(self, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run `inner`."""
        step, value = inner.send, None
        while True:
            try:
                waits_for = step(value)
            except StopIteration as end:
                return end.value
            self.number += 1
            if self.number == self._cancel_at:
                self._soon(self.stop)
            try:
                value, step = (yield waits_for), inner.send
            except BaseException as error:
                value, step = error, inner.throw
