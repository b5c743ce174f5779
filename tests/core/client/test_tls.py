"""The client over TLS, against a secure client port."""

import re
import ssl
import subprocess
from pathlib import Path

import anyio
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from recipes.core.client.connect import connect
from recipes.core.config import parse_zoo_cfg
from recipes.core.errors import ConnectionLoss
from recipes.core.server.server import Server
from recipes.embedded import LoopThread
from recipes.lock.lock import Lock
from tests.ports import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module", params=["ours", pytest.param("apache", marks=pytest.mark.apache)])
def secure(request, start_server, authority, tmp_path_factory):
    """`host:port` of a server that wants its clients to show a certificate."""
    directory = tmp_path_factory.mktemp("tls")
    server = authority.issue_cert("127.0.0.1")
    # Java reads no other form of private key than this.
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "key.pem").write_bytes(pkcs8 + server.cert_chain_pems[0].bytes())
    authority.cert_pem.write_to_path(directory / "trust.pem")
    port = free_port()
    settings = {
        "secureClientPort": port,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": directory / "key.pem",
        "ssl.trustStore.location": directory / "trust.pem",
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
    }
    if request.param == "ours":
        del settings["serverCnxnFactory"]
    start_server(request.param, **settings)
    return f"127.0.0.1:{port}"


def context(trusted, own=None):
    made = ssl.create_default_context()
    trusted.configure_trust(made)
    if own is not None:
        own.issue_cert("someone@example.org", common_name="someone").configure_cert(made)
    return made


async def test_a_client_with_a_certificate_takes_a_lock(secure, authority, root):
    async with connect(secure, tls=context(authority, authority), session_timeout=15) as client:
        assert any(identity.scheme == "x509" and "CN=someone" in identity.id for identity in await client.who_am_i())
        async with Lock(client, root) as grant:
            assert grant.fence > 0
        data = bytes(300_000)
        await client.set(root, data)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.get, root)
        assert (await client.get(root))[0] == data


async def test_a_server_of_another_authority_is_one_clear_line(secure, authority):
    wrong = re.escape(f"no trusted server at {secure}: its certificate is not trusted: ")
    with pytest.raises(ConnectionLoss, match=wrong) as caught:
        async with connect(secure, tls=context(trustme.CA(), authority), session_timeout=3):
            pass
    assert "\n" not in str(caught.value)


async def test_newcomer_7_a_client_without_a_certificate_hears_that_one_may_be_wanted(secure, authority):
    said = re.escape(f"no ZooKeeper server answers at {secure}: ")
    said += "it .*certificate, or another one, from this client"
    with pytest.raises(ConnectionLoss, match=said) as caught:
        async with connect(secure, tls=context(authority), session_timeout=3):
            pass
    assert "\n" not in str(caught.value)


async def test_newcomer_7_a_client_without_tls_hears_that_it_may_be_expected(secure):
    said = re.escape(f"no ZooKeeper server answers at {secure}: ") + "it .*TLS"
    with pytest.raises(ConnectionLoss, match=said) as caught:
        async with connect(secure, session_timeout=3):
            pass
    assert "\n" not in str(caught.value)


async def test_newcomer_7_a_client_with_tls_hears_that_a_port_has_none(our_server, authority):
    said = re.escape(f"no ZooKeeper server answers at {our_server.hosts}: ") + "it .*speaks? no TLS at this port"
    with pytest.raises(ConnectionLoss, match=said):
        async with connect(our_server.hosts, tls=context(authority), session_timeout=3):
            pass


PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.mark.needs("openssl", "bash")
def test_newcomer_22_the_certificates_the_server_and_the_client_of_the_docs_fit_together(tmp_path, monkeypatch):
    text = PAGE.read_text().partition("**At the client.**")[2]
    client_half, commands, zoo_cfg = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[:3]
    commands = commands.replace("rsa:3072", "rsa:2048")  # quicker
    one_more = commands[commands.index("openssl req -newkey") :]  # of the same authority
    for script in (commands, one_more.replace("zk1.example.org", "client").replace("zk1", "client")):
        done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for old, new in (("/etc/zookeeper", str(tmp_path)), ("secureClientPort=2281", "secureClientPort=0")):
        assert old in zoo_cfg
        zoo_cfg = zoo_cfg.replace(old, new)
    cfg = f"{zoo_cfg}dataDir={tmp_path}/data\nsecureClientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
    config, warnings = parse_zoo_cfg(cfg, "zoo.cfg")
    assert warnings == []

    async def look_up(host, port, **kind):
        assert host == "zk1.example.org"
        return [(None, None, None, "", ("127.0.0.1", port))]

    monkeypatch.setattr("recipes.core.client.connector.anyio.getaddrinfo", look_up)
    monkeypatch.chdir(tmp_path)
    *making, connecting = client_half.strip().splitlines()
    names = {"ssl": ssl}
    exec("\n".join(making), names)
    assert connecting == 'async with connect("zk1.example.org:2281", tls=context) as client: ...'

    async def use(port):
        async with connect(f"zk1.example.org:{port}", tls=names["context"]) as client:
            return await client.children("/")

    thread, server = LoopThread("tls-server"), Server(config)
    thread.call(server.__aenter__)
    try:
        assert anyio.run(use, server.secure_client_port) == ["zookeeper"]
    finally:
        thread.call(lambda: server.__aexit__(None, None, None))
        thread.close()
