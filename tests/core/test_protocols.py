"""The registries of protocols: what servers run, what the simulator runs, what the laboratory takes from servers."""

import pytest

from recipes.core.errors import BadArguments
from recipes.core.protocols import DEFAULT, NAMES, SIMULATED, find_protocol
from recipes.core.sim.protocols import find_simulated
from recipes.lab.casts import PROTOCOLS
from recipes.lab.served.protocols import SERVED, find_served


def test_each_registry_has_the_protocols_that_it_says():
    assert DEFAULT in NAMES
    assert [find_protocol(name).name for name in NAMES] == list(NAMES)
    assert [find_simulated(name).protocol.name for name in (*NAMES, *SIMULATED)] == [*NAMES, *SIMULATED]
    assert [find_served(name).name for name in NAMES] == list(NAMES)
    assert SERVED.keys() == {name for name, protocol in PROTOCOLS.items() if protocol.served} == set(NAMES)


@pytest.mark.parametrize(
    ("find", "name", "said"),
    [
        (find_protocol, "paxos", "protocol 'paxos': expected zab or raft"),
        (find_protocol, "multi-paxos", "protocol 'multi-paxos': expected zab or raft"),
        (find_simulated, "paxos", "protocol 'paxos': expected one of zab, raft, multi-paxos, primary-backup"),
        (find_served, "multi-paxos", "protocol 'multi-paxos' does not serve: expected zab or raft"),
        (find_served, "ZAB", "protocol 'ZAB' does not serve: expected zab or raft"),
    ],
)
def test_an_unknown_protocol_is_named_beside_those_there_are(find, name, said):
    with pytest.raises((ValueError, BadArguments)) as caught:
        find(name)
    assert str(caught.value) == said
