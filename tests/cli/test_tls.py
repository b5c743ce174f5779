"""The commands at a server that takes clients with TLS only, and only those with a certificate."""

import ssl
from pathlib import Path

import pytest
import trustme

from recipes import ServerConfig
from recipes.core.server.server import Server
from recipes.embedded import LoopThread


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory: Path = tmp_path_factory.mktemp("tls")
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    stranger.cert_pem.write_to_path(str(directory / "stranger.pem"))
    for name in ("server", "client"):
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(directory / f"{name}.pem"))
    return {name: str(directory / f"{name}.pem") for name in ("ca", "stranger", "server", "client")}


@pytest.fixture(scope="module")
def secure(files, tmp_path_factory):
    """Host and port of a server that listens with TLS alone."""
    config = ServerConfig(
        data_dir=tmp_path_factory.mktemp("secure"),
        client_port=None,
        secure_client_port=0,
        ssl_key_store=files["server"],
        ssl_trust_store=files["ca"],
        pre_alloc_size_kb=64,
    )
    thread = LoopThread("tls-server")
    server = Server(config)
    thread.call(server.__aenter__)
    yield f"127.0.0.1:{server.secure_client_port}"
    thread.call(lambda: server.__aexit__(None, None, None))
    thread.close()


def test_newcomer_6_shell_lock_and_status_speak_tls(run, secure, files):
    tls = ("--cacert", files["ca"], "--cert", files["client"])
    assert "zookeeper" in run("shell", *tls, secure, "ls", "/").stdout
    assert run("lock", *tls, "--hosts", secure, "/locks/a", "--", "sh", "-c", "exit 7").returncode == 7
    assert run("status", *tls, secure).stdout == "Mode: standalone\n"


def test_newcomer_6_tls_is_set_by_the_environment_too(run, secure, files):
    environment = {"RECIPES_CACERT": files["ca"], "RECIPES_CERT": files["client"], "RECIPES_HOSTS": secure}
    assert run("shell", "ls", "/zookeeper", **environment).returncode == 0
    assert run("lock", "/locks/a", "--", "true", **environment).returncode == 0
    assert run("status", **environment).stdout == "Mode: standalone\n"


@pytest.mark.thorough  # waits for time limits; tests/core/client/test_tls.py has each reason
def test_newcomer_6_a_server_that_is_not_trusted_is_told(run, secure, files):
    given = ("--cacert", files["stranger"], "--cert", files["client"])
    for command in (("shell", *given, secure, "ls", "/"), ("status", *given, secure)):
        done = run(*command)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "unable to get local issuer certificate" in done.stderr or "self" in done.stderr


def test_newcomer_6_a_file_that_does_not_do_is_named(run, secure, files, tmp_path):
    (tmp_path / "empty.pem").write_text("")
    for given, said in (
        (("--cacert", "no.pem"), "--cacert no.pem: No such file"),
        (("--cacert", "empty.pem"), "--cacert empty.pem: not a suitable PEM file: "),
        (("--cert", "no.pem"), "--cert no.pem: No such file"),
        (("--key", files["client"]), "--key: expected --cert too"),
        (("--cert", files["ca"]), f"--cert {files['ca']}: not a suitable PEM file: "),
    ):
        for command in (("shell", *given, secure, "ls", "/"), ("status", *given, secure)):
            done = run(*command)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
            assert said in done.stderr


def test_the_context_checks_who_the_server_is(files):
    from recipes.cli.access import TlsOptions

    context = TlsOptions(cacert=Path(files["ca"])).context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert TlsOptions().context() is None
    assert TlsOptions(tls=True).context() is not None
