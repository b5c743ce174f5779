"""Servers of different weight, each its own process: what they weigh together decides, not how many they are."""

from __future__ import annotations

import pytest

from tests.ensembles import SERVING

# Of 3 + 1 + 1 + 1, server 1 and any other are a quorum, though a minority; the three others are none.
WEIGHTS = {"group.1": "1:2:3:4", "weight.1": 3}


def test_one_server_outweighs_three(start_ensemble, wire):
    with start_ensemble("ours", "ours", "ours", "ours", **WEIGHTS) as ensemble:
        ensemble.kill(3)
        ensemble.kill(4)
        ensemble.wait_leader([1, 2])
        ensemble.wait_serving(1, 2)
        assert wire(ensemble.port(2)).create("/two", b"x") == 0
        ensemble.start(3, 4)
        client = wire(ensemble.port(3))
        assert client.create("/four", b"x") == 0
        epoch = client.call(3, client.text("/four") + b"\0")[1]  # its czxid comes first
        ensemble.kill(1)
        ensemble.wait_for(lambda: not any(ensemble.mode(sid) in SERVING for sid in (2, 3, 4)), "2, 3, 4 do not serve")
        for sid in (2, 3, 4):
            with pytest.raises((EOFError, OSError)):
                wire(ensemble.port(sid))
        for sid in (2, 3, 4):  # nobody has led without 1
            accepted = (ensemble.servers[sid].data_dir / "version-2" / "acceptedEpoch").read_text()
            assert int(accepted) == int.from_bytes(epoch[:4])
        ensemble.start(1)
        client = wire(ensemble.port(4))
        assert client.create("/again", b"x") == 0
        assert {"/two", "/four", "/again"} <= ensemble.assert_same().keys()
