import asyncio
import ssl
from contextlib import suppress

import pytest
import trustme

from recipes.core.config import ServerConfig
from recipes.core.errors import ConfigError
from recipes.core.server.server import Server
from recipes.core.server.tls import rfc2253, server_context


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def config(tmp_path, authority):
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "trust.pem")
    return ServerConfig(
        data_dir=tmp_path / "data",
        client_port=None,
        secure_client_port=0,
        ssl_key_store=tmp_path / "key.pem",
        ssl_trust_store=tmp_path / "trust.pem",
        four_letter_whitelist=("*",),
    )


def test_a_name_is_written_last_part_first_and_escaped():
    subject = ((("countryName", "US"),), (("organizationName", "Acme, Inc"),), (("commonName", "client"),))
    assert rfc2253(subject) == "CN=client,O=Acme\\, Inc,C=US"


def test_a_key_store_that_is_none_is_a_clear_error(tmp_path, config):
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(ConfigError, match=r"ssl\.keyStore\.location"):
        server_context(config)


@pytest.mark.asyncio
async def test_a_client_with_a_certificate_is_known_by_it(config, authority):
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert("someone@example.org", common_name="someone").configure_cert(client)
    async with Server(config) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.secure_client_port, ssl=client)
        async with asyncio.timeout(60):
            while not server.member.connections:
                await asyncio.sleep(0)
        (connection,) = server.member.connections.values()
        assert dict(connection.ids)[b"x509"].startswith(b"CN=someone,")
        writer.write(b"ruok")
        assert await reader.read() == b"imok"
        writer.close()
        await writer.wait_closed()


@pytest.mark.asyncio
async def test_a_client_without_a_certificate_is_refused(config, authority):
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with Server(config) as server:
        # With TLS 1.3 the client's side of the handshake is over before the server has looked for a certificate.
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.secure_client_port, ssl=client)
        except OSError:
            return
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            writer.write(b"ruok")
            await reader.readexactly(4)
        with suppress(OSError):  # told again, or not, by whether the alert has been read
            writer.close()
            await writer.wait_closed()


@pytest.mark.asyncio
async def test_a_client_port_may_take_both(config, authority):
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert("someone@example.org").configure_cert(client)
    both = {"client_port": 0, "secure_client_port": None, "client_port_unification": True}
    config = config.model_copy(update=both | {"sessionless_timeout_ms": 300})
    async with Server(config) as server:
        for context in (None, client):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port, ssl=context)
            writer.write(b"ruok")
            assert await reader.read() == b"imok"
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        async with asyncio.timeout(60):  # one that says nothing is hung up on; another leaves unheard
            reader, silent = await asyncio.open_connection("127.0.0.1", server.client_port)
            (await asyncio.open_connection("127.0.0.1", server.client_port))[1].close()
            assert await reader.read() == b""
            silent.close()
        waiting = await asyncio.open_connection("127.0.0.1", server.client_port)
    with suppress(OSError):
        assert await waiting[0].read() == b""
    waiting[1].close()
