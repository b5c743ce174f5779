"""sessionSecretFile on real servers: what a client needs to resume a session cannot be had from the session's id."""

from __future__ import annotations

import pytest

from recipes.core.tree.sessions import session_password


def test_sessions_move_between_members_with_the_same_secret_only(start_ensemble, wire, tmp_path):
    secret, other = tmp_path / "secret", tmp_path / "other"
    secret.write_text("what nobody knows\n")
    other.write_text("what somebody knows\n")
    with start_ensemble("ours", "ours", "ours", start=False, sessionSecretFile=secret) as ensemble:
        with ensemble.servers[3].config.open("a") as config:
            config.write(f"sessionSecretFile={other}\n")
        ensemble.start()
        client = wire(ensemble.port(1))
        client.close()
        guessed = wire(ensemble.port(2), session=(client.session_id, session_password(client.session_id)))
        assert guessed.timeout_ms == 0
        assert wire(ensemble.port(3), session=client.session).timeout_ms == 0
        moved = wire(ensemble.port(2), session=client.session)
        assert (moved.session, moved.timeout_ms) == (client.session, client.timeout_ms)


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_secret_is_refused(start_server, tmp_path, content):
    secret = tmp_path / "secret"
    secret.write_text(content)
    server = start_server("ours", tmp_path / "server", start=False, sessionSecretFile=secret)
    server.launch()
    assert server.process.wait(30) == 2
    assert f"sessionSecretFile={secret}: expected a file with a secret: it is empty" in server.log.read_text()
    server.stop()
