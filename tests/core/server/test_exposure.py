"""What a server says at its start of ports that other machines can reach without TLS, and of files that others can."""

import pytest

from recipes.core.config import ServerConfig
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.server.exposure import exposed_files, exposed_ports
from recipes.core.server.server import Server


def config_of(tmp_path, client="127.0.0.1", hosts=("127.0.0.1", "localhost", "::1"), **settings):
    servers = [QuorumServer(sid, host, 2888, 3888, False) for sid, host in enumerate(hosts, 1)]
    config = ServerConfig(data_dir=tmp_path, client_port=2181, client_address=client)
    return config.model_copy(update={"membership": Membership(servers), "server_id": 1} | settings)


def test_f6_ports_on_this_machine_alone_are_not_warned_of(tmp_path):
    assert exposed_ports(config_of(tmp_path)) == []


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "zk1.example.org"])
def test_f6_a_client_port_without_tls_is_warned_of(tmp_path, address):
    text, of_sessions = exposed_ports(config_of(tmp_path, address))
    assert of_sessions.startswith("who knows the id of a session can take it over")
    assert text.startswith(f"clientPort 2181 of {address} takes clients without TLS: ")
    assert exposed_ports(config_of(tmp_path, address, client_port=None)) == []


@pytest.mark.parametrize("secure", [False, True])
def test_f13_ids_that_give_sessions_away_are_warned_of(tmp_path, secure):
    ports = {"secure_client_port": 2281, "secure_client_address": "0.0.0.0"} if secure else {"client_address": "::"}
    (text,) = [each for each in exposed_ports(config_of(tmp_path, **ports)) if "sessionSecret=own" in each]
    assert text.startswith("who knows the id of a session can take it over")
    for secret in ({"session_secret": "own"}, {"session_secret_file": tmp_path / "secret"}):
        assert not [each for each in exposed_ports(config_of(tmp_path, **ports, **secret)) if "sessionSecret" in each]


def test_f6_ports_between_servers_without_tls_are_warned_of(tmp_path):
    hosts = ("127.0.0.1", "zk2.example.org", "127.0.0.1")
    (text,) = exposed_ports(config_of(tmp_path, hosts=hosts))
    assert "the servers of this ensemble talk to each other without TLS: " in text and "set sslQuorum" in text
    assert exposed_ports(config_of(tmp_path, hosts=hosts, ssl_quorum=True)) == []
    assert len(exposed_ports(config_of(tmp_path, quorum_listen_on_all_ips=True))) == 1


def test_small_3_data_that_every_user_can_change_is_warned_of(tmp_path):
    data, logs = tmp_path / "data", tmp_path / "logs"
    for directory in (data, logs / "version-2"):
        directory.mkdir(parents=True, mode=0o755)
    config = ServerConfig(data_dir=data, data_log_dir=logs, client_port=2181)
    assert exposed_files(config) == []
    (logs / "version-2" / "log.1").symlink_to(tmp_path / "elsewhere")
    (logs / "version-2" / "other").symlink_to(tmp_path / "elsewhere")
    (logs / "version-2").chmod(0o777)
    data.chmod(0o1777)
    assert exposed_files(config) == [
        f"{data} can be written to by every user of this machine: chmod o-w {data}",
        f"{logs}/version-2 can be written to by every user of this machine: chmod o-w {logs}/version-2",
        f"{logs}/version-2/log.1 is a link: who can change the file behind it changes the data",
    ]


@pytest.mark.asyncio
async def test_small_3_a_server_says_so_when_it_starts(tmp_path, caplog):
    tmp_path.chmod(0o777)
    async with Server(ServerConfig(data_dir=tmp_path, client_port=0)):
        pass
    assert f"{tmp_path} can be written to by every user of this machine: chmod o-w {tmp_path}" in caplog.messages
