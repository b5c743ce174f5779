"""Processes with the real client and a recipe on a simulated ensemble: one plan and one seed, one history.

Each process has one session at a time, and begins a new one when that is over; it carries out its steps, each in a
task. When the faults are over everything must come to an end by itself, and nothing may stay behind.
"""

import asyncio
import gc
from collections import deque

import anyio

from recipes.core.client.session import ConnectionState
from recipes.core.errors import InvariantBroken, RecipesError
from recipes.core.sim.chance import between
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.loop import scopes_in_order
from recipes.core.sim.process import Process
from recipes.core.sim.process_faults import ProcessNemesis
from tests.simulation.recipes.plan import HOLDER, Step

SITES = 200  # of processes are numbered from here
STEP_US = 20_000
RECOVERY_US = 40_000_000
QUIET_US = 2_000_000
PROBE_US = 5_000_000
CANCELLED_WITHIN = 2.5  # seconds, by the process's clock, a cancelled step may take for its clean-up


class World:
    """One run. workload: makes a Workload of this world: what steps do, and what must hold.

    `run()` raises InvariantBroken when a promise was not kept, which begins with its name in docs/simulation.md.
    """

    def __init__(self, plan, sources, workload):
        self.plan = plan
        self.ensemble = Ensemble(plan.servers, sources)
        self.timeline = self.ensemble.timeline
        self.reference = self.ensemble.ledger.reference
        self.count = self.ensemble.count
        self.broken = None
        self.running = {}  # (process, number) of a step -> the Step
        self.clients = {}  # the client of each process that is connected
        self.nemesis = ProcessNemesis(self.ensemble, plan.servers.timeout_ms)
        self.inboxes = {}
        self.chance = sources("processes")
        timeout = plan.servers.timeout_ms / 1000
        self.processes = [
            Process(self.ensemble, SITES + number, self.program, sources, rate_pm=rate_pm, session_timeout=timeout)
            for number, rate_pm in enumerate(plan.rates_pm)
        ]
        self.workload = workload(self)
        for process in self.processes:
            self.ensemble.sites.append(process.site)
            self.inboxes[process] = Inbox()
            process.ended.append(lambda process=process: self.life_ended(process))
            process.tap.event = lambda kind, path, process=process: self.workload.event(process, kind, path)
            self.timeline.at(between(self.chance, 300_000, 600_000), process.start)
        for step in plan.steps:
            self.timeline.at(step.at_us, self.begin, step)
        for fault in plan.faults:
            self.timeline.at(fault.at_us, self.strike, fault)

    def fail(self, name, message):
        """A promise was not kept; the first such counts."""
        if self.broken is None:
            self.broken = f"{name} {message}"
            self.ensemble.note(0, self.broken)

    def session_of(self, process, hold):
        """The session that a hold hangs on: of a client that renews it may be an earlier one."""
        client = self.clients[process]
        return hold._tenure.client.session if client._renew else client.session

    # Running.

    def run(self):
        collects = gc.isenabled()
        gc.disable()  # whatever it would finalize would be at a time of its own choosing
        try:
            with scopes_in_order():
                try:
                    self.run_until(self.plan.servers.end_us)
                    self.recover()
                finally:
                    problems = [problem for process in self.processes for problem in process.problems()]
                    for process in self.processes:
                        process.bury()
                for problem in problems:
                    self.fail("R14", f"nobody handled: {problem}")
                self.check()
        finally:
            if collects:
                gc.enable()

    def run_until(self, when_us):
        while self.timeline.now_us < when_us:
            self.timeline.run_until(min(when_us, self.timeline.now_us + STEP_US))
            self.check()

    def check(self):
        if self.broken is not None:
            raise InvariantBroken(self.broken)

    def recover(self):
        self.ensemble.nemesis.calm()
        self.nemesis.calm(self.processes)
        if (calm := getattr(self.workload, "calm", None)) is not None:
            calm()
        self.ensemble.note(0, "calm")
        self.wait("L3", self.unfinished, RECOVERY_US)
        self.run_until(self.timeline.now_us + QUIET_US)
        self.workload.quiet()
        self.check()
        for process in self.processes:
            for step in self.workload.probes():
                self.begin(step._replace(process=self.processes.index(process)))
        self.run_until(self.timeline.now_us + STEP_US)
        self.wait("L5", lambda: next((f"{step} goes on" for step in self.running.values()), None), PROBE_US)
        for process in self.processes:
            self.put(process, None)
        self.wait("L3", lambda: next((f"{each} goes on" for each in self.processes if each.up), None), PROBE_US)
        self.workload.finish()
        self.check()

    def wait(self, name, missing, limit_us):
        """limit_us: by the slowest clock of a process, since what a step does for a time goes by that clock."""
        began_us = self.timeline.now_us
        limit_us = limit_us * 1000 // min(1000, *self.plan.rates_pm)
        while (what := missing()) is not None:
            if self.timeline.now_us - began_us > limit_us:
                raise InvariantBroken(f"{name} after {limit_us // 1_000_000} s: {what}")
            self.run_until(self.timeline.now_us + STEP_US)

    def unfinished(self):
        """What keeps this world from having come to rest."""
        for process in self.processes:
            client = self.clients.get(process)
            if not process.up:
                return f"{process} is down"
            if client is None or client.state is not ConnectionState.CONNECTED:
                return f"{process} is not connected"
        for (process, _), step in self.running.items():
            return f"{step} of {process} goes on"
        for process, inbox in self.inboxes.items():
            if inbox.steps:
                return f"{process} has not begun with {inbox.steps[0]}"
        live = [client.session.id for client in self.clients.values()]
        for session_id in self.reference.tree.sessions:
            if session_id not in live:
                return f"session 0x{session_id:x} has not ended"
        return self.ensemble.missing()

    def strike(self, fault):
        process = self.workload.holder() if fault.target == HOLDER else self.processes[fault.target]
        self.nemesis.strike(process or self.processes[fault.amount % len(self.processes)], fault)

    # Processes.

    def begin(self, step):
        process = self.processes[step.process]
        if process.up and process in self.clients:
            self.put(process, step)
        else:
            self.count("step dropped")

    def put(self, process, step):
        inbox = self.inboxes[process]
        inbox.steps.append(step)
        if process.up and inbox.more is not None:
            process.loop.arrived(inbox.more.set)

    def life_ended(self, process):
        self.inboxes[process] = Inbox()
        self.clients.pop(process, None)
        for key in [key for key in self.running if key[0] is process]:
            del self.running[key]
        self.workload.life_ended(process)

    async def program(self, process):
        """What each process runs: one session after the other. Steps outlive the block of their client."""
        inbox = self.inboxes[process]
        inbox.more = anyio.Event()
        async with anyio.create_task_group() as tasks:
            while not inbox.over:
                try:
                    async with process.connect(renew=getattr(self.workload, "renew", False)) as client:
                        self.clients[process] = client
                        self.count("session")
                        await self.carry_out(process, client, inbox, tasks)
                except RecipesError as error:
                    self.count(type(error).__name__)
                await anyio.sleep(0.01 + process.chance.random() * 0.1)

    async def carry_out(self, process, client, inbox, tasks):
        """Begin with steps as they come, until the session is over or a step says to close it."""
        objects = self.workload.open(process, client)
        if client.renews:
            client.add_state_listener(
                lambda state: self.count("session lost") if state is ConnectionState.LOST else None
            )

        async def wake_when_lost():
            await client.session.lost_event.wait()
            inbox.more.set()

        tasks.start_soon(wake_when_lost)
        while not client.session.lost:
            while inbox.steps:
                step = inbox.steps.popleft()
                if step is None:
                    inbox.over = True
                    return
                if step.kind == "close":
                    self.count("close inside" if self.workload.holder(process) else "close")
                    process.note("closes its client")
                    return
                self.running[process, step.number] = step
                tasks.start_soon(self.run_step, process, objects, step)
            inbox.more = anyio.Event()
            await inbox.more.wait()
        self.count("session lost")
        process.note("its session is lost")

    async def run_step(self, process, objects, step: Step):
        loop = process.loop
        began = loop.time()
        cancelled = False
        try:
            if step.how == "task":
                cancelled = await self.cancel_task(process, objects, step)
            elif step.how == "scope":
                with anyio.move_on_after(step.limit_us / 1e6) as scope:
                    await self.act(process, objects, step)
                cancelled = scope.cancelled_caught
            else:
                await self.act(process, objects, step)
            if cancelled:
                self.count("cancelled")
                process.note(f"{step.number} {step.kind} is cancelled")
        except RecipesError as error:
            self.count(f"{step.kind}: {type(error).__name__}")
            process.note(f"{step.number} {step.kind}: {type(error).__name__}")
            if not isinstance(error, self.workload.errors):
                self.fail("R14", f"{step.kind} raises {error!r}")
        finally:
            self.running.pop((process, step.number), None)
        if loop.dead:
            return  # with its process, and only now buried
        late = loop.time() - began - step.limit_us / 1e6
        if cancelled and late > CANCELLED_WITHIN and not process.pauses:
            self.fail("R14", f"{step.kind} ends {late:.3f} s behind its cancellation")

    async def act(self, process, objects, step):
        await self.workload.act(process, objects, step)
        await anyio.lowlevel.checkpoint()

    async def cancel_task(self, process, objects, step):
        """Cancel as asyncio does, which is told once; whether it was."""
        task = process.loop.create_task(self.act(process, objects, step))
        asked = []
        timer = process.loop.call_later(step.limit_us / 1e6, lambda: asked.append(task.cancel()))
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
            raise
        finally:
            timer.cancel()
        if task.cancelled():
            return True
        error = task.exception()
        if error is not None:
            raise error
        if any(asked):
            self.fail("R14", f"{step.kind} swallows its cancellation")
        return False


class Inbox:
    """Steps that a process has not begun with."""

    def __init__(self):
        self.steps = deque()
        self.more = None
        self.over = False
