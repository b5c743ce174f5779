"""A zoo.cfg that names servers: who this one is, alone or one of several, and what is refused. As Apache 3.8 does."""

from pathlib import Path

import pytest

from recipes.core.config import ServerConfig, parse_zoo_cfg
from recipes.core.errors import ConfigError

LIMITS = "initLimit=10\nsyncLimit=5\n"
THREE = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888:observer\n"


def parse(tmp_path: Path, text: str, myid: str | None = "1", port: str = "clientPort=2181\n") -> ServerConfig:
    if myid is not None:
        (tmp_path / "myid").write_text(myid)
    config, warnings = parse_zoo_cfg(f"dataDir={tmp_path}\n{port}{text}", "zoo.cfg")
    assert warnings == []
    return config


def refusal(tmp_path: Path, text: str, myid: str | None = "1") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(tmp_path, text, myid)
    return caught.value


def test_a_server_finds_itself_in_its_ensemble(tmp_path):
    config = parse(tmp_path, LIMITS + THREE, "2\n")
    assert config.membership is not None
    assert (config.server_id, config.peer_type) == (2, "participant")
    assert (config.membership.voters, config.membership.observers) == ((1, 2), (3,))
    assert (config.init_limit, config.sync_limit) == (10, 5)
    assert config.membership.servers[1].host == "a"


def test_the_list_says_who_observes(tmp_path):
    assert parse(tmp_path, LIMITS + THREE, "3").peer_type == "observer"
    assert parse(tmp_path, LIMITS + THREE + "peerType=observer\n", "3").peer_type == "observer"
    text = f"dataDir={tmp_path}\nclientPort=2181\n{LIMITS}{THREE}peerType=observer\n"
    (tmp_path / "myid").write_text("1")
    config, warnings = parse_zoo_cfg(text, "zoo.cfg")
    assert config.peer_type == "participant"
    assert warnings == ["zoo.cfg:8: peerType has no effect: server.1 says participant"]


def test_a_single_participant_is_alone_unless_told_otherwise(tmp_path):
    one = "server.1=a:2888:3888\n"
    assert parse(tmp_path, one, myid=None).membership is None
    assert parse(tmp_path, one, myid="1").membership is None
    assert parse(tmp_path, one, myid="2").server_id is None
    config = parse(tmp_path, LIMITS + one + "standaloneEnabled=false\n")
    assert config.membership is not None
    assert config.membership.voters == (1,)
    watched = LIMITS + one + "server.2=b:2888:3888:observer\n"
    assert parse(tmp_path, watched + "standaloneEnabled=false\n").server_id == 1
    assert refusal(tmp_path, watched).key == "standaloneEnabled"


def test_a_plain_server_needs_no_id(tmp_path):
    config = parse(tmp_path, "", myid=None)
    assert (config.membership, config.server_id) == (None, None)


@pytest.mark.parametrize(
    ("text", "myid", "message"),
    [
        ("syncLimit=5\n" + THREE, "1", "zoo.cfg: initLimit is missing: expected a number of ticks"),
        ("initLimit=5\n" + THREE, "1", "zoo.cfg: syncLimit is missing: expected a number of ticks"),
        (LIMITS + THREE, None, "zoo.cfg: myid is missing: expected this server's number in the file "),
        (LIMITS + THREE, "x", "/myid:1: myid=x: expected a number from 0 to 255"),
        (LIMITS + THREE, "", "/myid:1: myid=: expected a number from 0 to 255"),
        (LIMITS + THREE, "9", "/myid:1: myid=9: expected one of the servers 1, 2, 3"),
        (LIMITS + "server.1=a:1:2:observer\n", "1", "zoo.cfg: server.N is missing: expected a participant"),
        (LIMITS + "standaloneEnabled=false\n", "1", "zoo.cfg: standaloneEnabled=false: expected at least one server"),
        (
            LIMITS + THREE + "server.1=d:1:2\n",
            "1",
            "zoo.cfg:8: server.1=d:1:2: expected each key once: it is in line 5",
        ),
        (LIMITS + THREE + "server.01=d:1:2\n", "1", "zoo.cfg:8: server.01=d:1:2: expected each number once"),
        (LIMITS + THREE + "server.4=A:2888:3889\n", "1", "zoo.cfg:8: server.4=A:2888:3889: expected ports of its own"),
        (LIMITS + THREE + "server.4=a:2887:2888\n", "1", "server.1 has port 2888 of a too"),
        (LIMITS + "server.1=a:1\n", "1", "zoo.cfg:5: server.1=a:1: expected host:quorumPort:electionPort"),
        (LIMITS + THREE + "weight.1=2\n", "1", "zoo.cfg:8: weight.1=2: expected every voter to be in a group"),
        (LIMITS + THREE + "myid=2\n", "1", "zoo.cfg:8: myid=2: expected 1, which is in "),
        (LIMITS + THREE + "myid=7\n", None, "zoo.cfg:8: myid=7: expected one of the servers 1, 2, 3"),
        (
            LIMITS + THREE + "dynamicConfigFile=x\n",
            "1",
            "zoo.cfg:5: server.1=a:2888:3888: expected this line in the dynamicConfigFile",
        ),
        (
            LIMITS + THREE + "server.255=d:1:2\nextendedTypesEnabled=true\n",
            "255",
            "zoo.cfg:9: extendedTypesEnabled=true: expected false on server 255",
        ),
        (LIMITS + "dynamicConfigFile=/none/x\n", "1", "zoo.cfg:5: dynamicConfigFile=/none/x: expected a file that can"),
    ],
)
def test_one_clear_message_says_what_is_wrong(tmp_path, text, myid, message):
    assert message in str(refusal(tmp_path, text, myid))


def test_the_id_may_stand_in_the_file_itself(tmp_path):
    assert parse(tmp_path, LIMITS + THREE + "myid=2\n", myid=None).server_id == 2


def test_the_servers_may_stand_in_a_file_of_their_own(tmp_path):
    (tmp_path / "dynamic").write_text(THREE)
    config = parse(tmp_path, f"{LIMITS}dynamicConfigFile={tmp_path}/dynamic\n")
    assert config.membership is not None
    assert config.membership.voters == (1, 2)
    (tmp_path / "dynamic").write_text(THREE + "version=100000000\n")
    error = refusal(tmp_path, f"{LIMITS}dynamicConfigFile={tmp_path}/dynamic\n")
    assert (error.source, error.line, error.key) == (f"{tmp_path}/dynamic", 4, "version")


def test_a_server_line_may_say_where_clients_come_in(tmp_path):
    two = "server.1=a:2888:3888;{0}\nserver.2=b:2888:3888\n"
    config = parse(tmp_path, LIMITS + two.format("2191"), port="")
    assert (config.client_address, config.client_port) == ("0.0.0.0", 2191)
    config = parse(tmp_path, LIMITS + two.format("[::1]:2191"), port="")
    assert (config.client_address, config.client_port) == ("0:0:0:0:0:0:0:1", 2191)
    config = parse(tmp_path, LIMITS + two.format("127.0.0.1:2181"))
    assert (config.client_address, config.client_port) == ("127.0.0.1", 2181)
    assert parse(tmp_path, "server.1=a:2888:3888;2191\n", port="").client_port == 2191
    assert refusal(tmp_path, LIMITS + two.format("2182")).key == "clientPort"
    stated = LIMITS + "clientPortAddress=127.0.0.1\n" + two.format("2181")
    assert refusal(tmp_path, stated).key == "clientPortAddress"
