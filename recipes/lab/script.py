"""The steps of a scenario: each waits for something, and then does something.

A step is armed when the one before it is done. It waits for a message that is sent, arrives or was handled, for a
reply, for a state, or for nothing. Messages are named by their roles, so that one script runs on several protocols.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recipes.core.errors import BadArguments
from recipes.lab.links import Direction, Flight
from recipes.lab.steps import AT_ONCE, FAULTS, MESSAGE_KEYS, OF_MESSAGE, WELL, Step

if TYPE_CHECKING:
    from recipes.lab.course import Course


class Script:
    """Goes through the steps.

    waits_for: in words, what the step that is armed waits for; "" when all steps are done. faults: how many were done:
    one for each site that a step named, each two sites that were cut from each other, and each message.
    """

    def __init__(self, steps: Sequence[Step], world: "Course") -> None:
        self._steps = [step for step in steps if "at_event" not in step.get("when", {})]
        self._beside = [step for step in steps if "at_event" in step.get("when", {})]
        self._world = world
        self._at = -1
        self._seen = 0
        self._fired = False  # the armed step has been triggered, and is about to be done
        self._labels: dict[str, int] = {}
        self.waits_for: str = "its first step" if self._steps else ""
        self.faults: int = 0

    def begin(self) -> None:
        """Arm the first step."""
        self._arm()

    def saw_message(self, stage: str, flight: Flight) -> None:
        """A message has got as far as `stage`."""
        if stage == "sent":
            self._beside_message(flight)
        when = self._when()
        if when is None or not when.keys() & MESSAGE_KEYS or when.get("at", "handled") != stage:
            return
        role, kind, _ = flight.message
        if (
            when.get("role", role) == role
            and when.get("kind", kind) == kind
            and ("from" not in when or flight.sender in self.resolve(when["from"]))
            and ("to" not in when or flight.to in self.resolve(when["to"]))
        ):
            self._count(flight)

    def saw_events(self, count: int) -> None:
        """There are so many events: do the steps beside the sequence that wait for one of them."""
        if not self._beside:
            return
        for step in [each for each in self._beside if each["when"]["at_event"] < count]:
            if step["then"] in OF_MESSAGE:
                continue
            self._beside.remove(step)
            if step.get("after_ms"):
                self._world.timeline.after(step["after_ms"] * 1000, self._do_beside, step, None)
            else:  # without the timeline, whose chance would put later events in another order
                self._do_beside(step, None)

    @property
    def never_done(self) -> str:
        """In words, a step beside the sequence whose event has not come; "" if there is none."""
        if not self._beside:
            return ""
        step = self._beside[0]
        return f"event {step['when']['at_event']}, for the step {step['then']}"

    def _beside_message(self, flight: Flight) -> None:
        for step in [each for each in self._beside if each["when"]["at_event"] == flight.id]:
            if step["then"] in OF_MESSAGE:
                self._beside.remove(step)
                self._do_beside(step, flight)

    def _do_beside(self, step: Step, flight: Flight | None) -> None:
        self._act(step, flight)
        self._world.look_for_end()

    def saw_reply(self, call: int, outcome: str) -> None:
        """A call was answered."""
        when = self._when()
        if when is not None and "reply" in when and self._labels.get(when["reply"]) == call:
            if when.get("outcome", outcome) == outcome:
                self._count(None)

    def saw_state(self, site: str) -> None:
        """A site shows something new."""
        when = self._when()
        if when is None or "state" not in when or ("site" in when and site not in self.resolve(when["site"])):
            return
        shown = self._world.sites[site].shown
        if all(_plain(shown.get(name)) == value for name, value in when["state"].items()):
            self._count(None)

    def _when(self) -> Mapping[str, Any] | None:
        if self._fired or not 0 <= self._at < len(self._steps):
            return None
        when: Mapping[str, Any] | None = self._steps[self._at].get("when")
        return when

    def _count(self, flight: Flight | None) -> None:
        self._seen += 1
        step = self._steps[self._at]
        if self._seen >= step["when"].get("nth", 1):
            self._fire(step, flight)

    def _arm(self) -> None:
        self._at += 1
        self._seen = 0
        self._fired = False
        if self._at >= len(self._steps):
            self.waits_for = ""
            return
        step = self._steps[self._at]
        when = step.get("when", {})
        self.waits_for = f"step {self._at + 1}, {step['then']}, which waits for {dict(when)}" if when else "a step"
        if "at_ms" in when:
            self._fired = True
            self._world.timeline.at(self._world.began_us + when["at_ms"] * 1000, self._do, step, None)
        elif not when:
            self._fire(step, None)
        elif "reply" in when and self._answered(when):
            self._fire(step, None)
        elif "state" in when:
            for name, site in self._world.sites.items():
                if site.running:
                    self.saw_state(name)

    def _answered(self, when: Mapping[str, Any]) -> bool:
        """Whether the reply that a step waits for has come already."""
        call = self._labels.get(when["reply"])
        return call is not None and any(
            event["k"] == "reply"
            and event["call"] == call
            and event["outcome"] == when.get("outcome", event["outcome"])
            for event in self._world.events
        )

    def _fire(self, step: Step, flight: Flight | None) -> None:
        self._fired = True
        after_ms = step.get("after_ms", 0)
        if step["then"] in AT_ONCE and not after_ms:
            self._do(step, flight)
        else:
            self._world.timeline.after(after_ms * 1000, self._do, step, flight)

    def _do(self, step: Step, flight: Flight | None) -> None:
        number = self._at + 1
        if step["then"] not in AT_ONCE and number < len(self._steps) and "when" in self._steps[number]:
            self._arm()  # first: what the next step waits for may come from this very action
            self._act(step, flight)
        else:
            self._act(step, flight)
            self._arm()
        self._world.look_for_end()

    def _act(self, step: Step, flight: Flight | None) -> None:
        if step["then"] in FAULTS:
            self.faults += self._faults_of(step)
        getattr(self, f"_{step['then']}")(step, flight)

    def _faults_of(self, step: Step) -> int:
        if step.get("disk") == WELL:
            return 0
        if "target" in step:
            return len(self._targets(step))
        if "from" in step:
            return len({frozenset(direction) for direction in self._directions(step)})
        return int(step.get("probability", 1) > 0)

    # The actions.

    def _call(self, step: Step, flight: Flight | None) -> None:
        label = step.get("as", f"call{self._world.calls + 1}")
        self._labels[label] = self._world.calls + 1
        self._world.call(self._site(step["target"]), step.get("client", "c1"), list(step["op"]), label)

    def _crash(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].crash()

    def _power(self, step: Step, flight: Flight | None) -> None:
        keeps = {"kept": True, "lost": False, "chance": None}
        for name in self._targets(step):
            self._world.sites[name].cut_power(keeps[step.get("unsynced", "chance")])

    def _start(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].start()

    def _wipe(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].wipe()

    def _pause(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].pause()

    def _resume(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].resume()

    def _disk(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].change_disk(step["disk"])

    def _clock(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].move_clock(step["by_ms"])

    def _expire(self, step: Step, flight: Flight | None) -> None:
        for name in self._targets(step):
            self._world.sites[name].fire(step["timer"])

    def _cut(self, step: Step, flight: Flight | None) -> None:
        self._cut_off(self._directions(step))

    def _isolate(self, step: Step, flight: Flight | None) -> None:
        inside = self._targets(step)
        outside = [name for name in self._world.sites if name not in inside]
        self._cut_off(_between(inside, outside) + _between(outside, inside))

    def _heal(self, step: Step, flight: Flight | None) -> None:
        self._world.links.heal(self._directions(step) if "from" in step else None)
        self._world.record("", "heal", what="cut")

    def _drop(self, step: Step, flight: Flight | None) -> None:
        if flight is not None:
            flight.why_lost = "dropped"

    def _hold(self, step: Step, flight: Flight | None) -> None:
        if flight is not None:
            self._world.links.hold(flight)

    def _delay(self, step: Step, flight: Flight | None) -> None:
        if flight is not None:
            self._world.links.delay(flight, step["by_ms"] * 1000)

    def _duplicate(self, step: Step, flight: Flight | None) -> None:
        if flight is not None:
            self._world.links.duplicate(flight)

    def _deliver(self, step: Step, flight: Flight | None) -> None:
        number, events = step["message"], self._world.events
        if number >= len(events) or events[number]["k"] != "send":
            raise BadArguments("", f"deliver: no message has been sent at event {number}")
        self._world.links.deliver(number)

    def _release(self, step: Step, flight: Flight | None) -> None:
        self._world.links.release()

    def _loss(self, step: Step, flight: Flight | None) -> None:
        self._world.links.loss = step["probability"]
        self._world.record("", "fault" if step["probability"] else "heal", what="loss")

    def _note(self, step: Step, flight: Flight | None) -> None:
        self._world.record("", "note", text=step.get("text", ""))

    def _cut_off(self, directions: list[Direction]) -> None:
        self._world.links.cut(directions)
        self._world.record("", "fault", what="cut", directions=[f"{a}>{b}" for a, b in directions])

    def _directions(self, step: Step) -> list[Direction]:
        ones, others = self.resolve(step["from"]), self.resolve(step["to"])
        directions = _between(ones, others)
        return directions if step.get("one_way", False) else directions + _between(others, ones)

    def _targets(self, step: Step) -> list[str]:
        return self.resolve(step["target"])

    def _site(self, name: str) -> str:
        found = self.resolve(name)
        return found[0] if found else next(iter(self._world.sites))

    def resolve(self, names: str | Iterable[str]) -> list[str]:
        """The sites that a scenario names: by name, by kind, or as "leader", "follower", "followers", "all".

        The follower is the first one that runs.
        """
        world = self._world
        found: list[str] = []
        for name in [names] if isinstance(names, str) else names:
            leader = world.leader()
            if name == "leader":
                found += [leader] if leader else []
            elif name == "follower":
                found += [each for each, site in world.sites.items() if each != leader and site.running][:1]
            elif name == "followers":
                found += [each for each in world.sites if each != leader]
            elif name == "all":
                found += list(world.sites)
            else:
                found += world.names.get(name, (name,))
        return found


def _plain(value: Any) -> Any:
    """A value as TOML would have it: lists in place of tuples."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _between(ones: Iterable[str], others: Iterable[str]) -> list[Direction]:
    return [(one, other) for one in ones for other in others if one != other]
