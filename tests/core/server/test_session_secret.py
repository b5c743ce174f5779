"""sessionSecret=own: a secret that the first leader makes, and that only members with a certificate are sent (F13)."""

import asyncio
import logging
import struct
from contextlib import AsyncExitStack, closing

import pytest
import trustme

from recipes.core.config import ServerConfig, parse_zoo_cfg
from recipes.core.ensemble import parse_membership
from recipes.core.errors import ConfigError
from recipes.core.server.server import Server
from recipes.core.tree.sessions import session_password
from tests.ports import ReservedPorts

SECONDS = 120
TWO = "server.1=a:1:2\nserver.2=b:1:2"
TLS = "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/t.pem"
RULE = "who knows the id of a session can take it over"


async def session(port, asked=0, password=bytes(16)):
    """Timeout, id and password that the handshake gives; a timeout of 0 if the session is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, asked, 16, password, False))
    async with asyncio.timeout(SECONDS):
        answer = await reader.readexactly(41)
    writer.close()
    _, _, timeout_ms, session_id, _, given = struct.unpack(">iiiqi16s", answer[:40])
    return timeout_ms, session_id, given


class Ensemble:
    """Servers with certificates, in this process."""

    def __init__(self, directory, ports):
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "key.pem")
        authority.cert_pem.write_to_path(directory / "trust.pem")
        self.directory = directory
        self.lines = [f"server.{sid}=127.0.0.1:{ports.take()}:{ports.take()}" for sid in (1, 2, 3)]

    def server(self, sid, own=True):
        data = self.directory / str(sid)
        data.mkdir(exist_ok=True)
        (data / "myid").write_text(str(sid))
        lines = [
            f"dataDir={data}", "clientPort=0", "tickTime=500", "initLimit=20", "syncLimit=20", "sslQuorum=true",
            f"ssl.quorum.keyStore.location={self.directory / 'key.pem'}", "admin.enableServer=false",
            f"ssl.quorum.trustStore.location={self.directory / 'trust.pem'}", "preAllocSize=64", *self.lines,
            *(["sessionSecret=own"] if own else []),
        ]  # fmt: skip
        config = parse_zoo_cfg("\n".join(lines), "zoo.cfg")[0]
        return Server(config.model_copy(update={"client_address": "127.0.0.1"}))

    def secret(self, sid):
        return self.directory / str(sid) / "version-2" / "sessionSecret"


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
@pytest.mark.thorough  # elections; tests/core/zab/test_shared_secret.py has the rule
async def test_f13_members_share_a_secret_that_the_first_leader_makes(tmp_path, caplog):
    caplog.set_level(logging.INFO, "recipes.server")
    with closing(ReservedPorts()) as ports:
        ensemble = Ensemble(tmp_path, ports)
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(ensemble.server(sid)) for sid in (1, 2)]
            await until(lambda: all(server.member.serving for server in servers))
            one, two = servers
            granted, session_id, password = await session(one.client_port)
            assert granted and session_password(session_id) != password
            assert (await session(two.client_port, session_id, session_password(session_id)))[0] == 0
            assert await session(two.client_port, session_id, password) == (granted, session_id, password)
            made = ensemble.secret(1).read_bytes()
            assert ensemble.secret(2).read_bytes() == made and len(made) >= 32
            assert ensemble.secret(1).stat().st_mode & 0o077 == 0

            late = await stack.enter_async_context(ensemble.server(3, own=False))
            told = "shares a session secret: all members need the same sessionSecret"
            await until(lambda: told in caplog.text)
            assert not late.member.serving and not ensemble.secret(3).exists()
        caplog.clear()
        async with AsyncExitStack() as stack:  # another leader perhaps, and a member that has none yet
            servers = [await stack.enter_async_context(ensemble.server(sid)) for sid in (2, 3)]
            await until(lambda: all(server.member.serving for server in servers))
            assert ensemble.secret(3).read_bytes() == made
            assert await session(servers[1].client_port, session_id, password) == (granted, session_id, password)
    assert made.decode() not in caplog.text


@pytest.mark.asyncio
async def test_f13_a_server_alone_makes_its_own_and_keeps_it(tmp_path, caplog):
    settings = {"client_port": 0, "pre_alloc_size_kb": 64, "session_secret": "own"}
    async with Server(ServerConfig(data_dir=tmp_path, **settings)) as server:
        granted, session_id, password = await session(server.client_port)
        assert (await session(server.client_port, session_id, session_password(session_id)))[0] == 0
    async with Server(ServerConfig(data_dir=tmp_path, **settings)) as server:
        assert await session(server.client_port, session_id, password) == (granted, session_id, password)
    assert (tmp_path / "version-2" / "sessionSecret").stat().st_mode & 0o077 == 0
    assert RULE not in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"client_address": "0.0.0.0"}, True),
        ({"client_address": "127.0.0.1"}, False),
        ({"client_address": "0.0.0.0", "session_secret": "own"}, False),
    ],
)
async def test_f13_a_server_that_others_reach_says_that_ids_are_no_secrets(tmp_path, caplog, settings, warned):
    async with Server(ServerConfig(data_dir=tmp_path, client_port=0, pre_alloc_size_kb=64, **settings)):
        pass
    assert (RULE in caplog.text) == warned


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("sessionSecret=mine", "expected 'zookeeper' or 'own'"),
        ("sessionSecret=own\nsessionSecretFile=/secret", "expected zookeeper, since sessionSecretFile is set"),
        (f"sessionSecret=own\n{TWO}", "expected sslQuorum=true, portUnification=false and"),
        (f"sessionSecret=own\n{TWO}\n{TLS}\nportUnification=true", "expected sslQuorum=true, portUnification=false"),
        (f"sessionSecret=own\n{TWO}\n{TLS}\nssl.quorum.clientAuth=want", "and ssl.quorum.clientAuth=need"),
        (f"sessionSecret=own\n{TWO}\n{TLS}\nprotocol=raft", "expected sessionSecretFile in place of it"),
    ],
)
def test_f13_what_would_not_be_secret_or_shared_is_refused(tmp_path, lines, said):
    (tmp_path / "myid").write_text("1")
    text = f"dataDir={tmp_path}\nclientPort=1\ninitLimit=1\nsyncLimit=1\n{lines}\n"
    with pytest.raises(ConfigError) as raised:
        parse_zoo_cfg(text, "zoo.cfg")
    assert said in str(raised.value) and "mine" not in str(raised.value).partition("expected")[0]


@pytest.mark.asyncio
async def test_f13_without_tls_no_member_starts(tmp_path):
    members = parse_membership({f"server.{sid}": f"127.0.0.1:{sid}:{sid + 3}" for sid in (1, 2)})
    config = ServerConfig(data_dir=tmp_path, client_port=0, membership=members, server_id=1, session_secret="own")
    with pytest.raises(ConfigError, match="sslQuorum=true"):
        async with Server(config):
            pass
