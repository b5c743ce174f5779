"""Messages captured from Apache ZooKeeper 3.8.0, by what stands above each."""

from pathlib import Path

import pytest


def captured(name: str) -> dict[str, bytes]:
    blocks = (Path(__file__).parent / "golden" / f"{name}.hex").read_text().split("\n# ")[1:]
    titled = (block.partition("\n") for block in blocks)
    return {title: bytes.fromhex(digits) for title, _, digits in titled}


@pytest.fixture(scope="session")
def quorum_port() -> dict[str, bytes]:
    return captured("quorum_port")


@pytest.fixture(scope="session")
def election_port() -> dict[str, bytes]:
    return captured("election_port")
