"""The tables of an acceptor, and of an acceptor as its proposer sees it, and their page."""

import pytest

from recipes.core.paxos.follower import Follower
from recipes.core.paxos.leader import Leader
from recipes.core.paxos.stages import FOLLOWER_MESSAGES, FOLLOWER_MOVES, PROGRESS_MESSAGES, PROGRESS_MOVES
from recipes.core.paxos.wire import PAXOS_MESSAGES
from tests.core.replicas.tables import Table

TABLES = {
    "acceptor": Table(PAXOS_MESSAGES, Follower, FOLLOWER_MESSAGES, FOLLOWER_MOVES),
    "progress": Table(PAXOS_MESSAGES, Leader, PROGRESS_MESSAGES, PROGRESS_MOVES),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_step_is_a_method_and_every_stage_is_reached(name):
    TABLES[name].check_whole()


@pytest.mark.parametrize("name", TABLES)
def test_the_page_shows_the_tables(name):
    TABLES[name].check_page("multi-paxos.md", name)
