"""`recipes convert` on real servers: an ensemble goes on with the other protocol, and back, with all that it had."""

from __future__ import annotations

import pytest

from recipes.cli import main
from tests.ensembles import EnsembleProcesses

pytestmark = [pytest.mark.thorough]  # tests/cli/test_convert.py has what the command refuses


def set_protocol(ensemble: EnsembleProcesses, protocol: str) -> None:
    for server in ensemble.servers.values():
        lines = [line for line in server.config.read_text().splitlines() if not line.startswith("protocol=")]
        server.config.write_text("\n".join([*lines, f"protocol={protocol}", ""]))


def stop_all(ensemble: EnsembleProcesses) -> None:
    """The leader last: so no other one is elected, which would add to the logs."""
    leader = ensemble.leader()
    for sid in [*(sid for sid in ensemble.servers if sid != leader), leader]:
        ensemble.stop(sid)


def stop_at_one_zxid(ensemble: EnsembleProcesses, to: str, capsys: pytest.CaptureFixture[str]) -> str:
    """As docs/operations.md says: if the logs end apart, since something was written meanwhile, begin anew."""
    while True:
        ensemble.wait_synced()
        stop_all(ensemble)
        ends: set[str] = set()
        for server in ensemble.servers.values():
            assert main(["convert", str(server.data_dir), "--to", to]) == 1
            ends.add(capsys.readouterr().out.split()[-1])
        if len(ends) == 1:
            return ends.pop()
        ensemble.start()


@pytest.mark.parametrize(("first", "second"), [("zab", "raft"), ("raft", "zab")])
def test_an_ensemble_goes_on_with_the_other_protocol_and_back(first, second, start_ensemble, wire, capsys):
    with start_ensemble("ours", "ours", "ours", observers="ours", protocol=first) as ensemble:
        written = {}
        for turn, to in enumerate((second, first, second)):
            client = wire(ensemble.port(ensemble.followers()[0]))
            for number in range(5):
                assert client.create(f"/{turn}-{number}", b"x" * number) == 0
            client.close_session()
            ensemble.wait_synced()
            written = ensemble.assert_same()
            zxid = stop_at_one_zxid(ensemble, to, capsys)
            for server in ensemble.servers.values():
                assert main(["convert", str(server.data_dir), "--to", to, "--zxid", zxid]) == 0
            set_protocol(ensemble, to)
            ensemble.start()
            ensemble.wait_synced()
            now = ensemble.assert_same()
            assert now == written
            assert ensemble.mntr(ensemble.leader())["zk_protocol"] == to
        ensemble.restart(ensemble.leader())
        ensemble.wait_synced()
        assert ensemble.assert_same() == written
