"""A client that has said all that it has to say, and shuts its half, gets its answers: `printf ruok | nc HOST PORT`."""

import socket

import pytest

ROUNDS = 40  # the end of what is sent arrives together with it, or behind it


def said(port, data):
    """Everything that is answered to `data` and the end of what is sent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while part := client.recv(1 << 16):
            answer += part
    return answer


@pytest.mark.parametrize("word", ["ruok", "srvr", "mntr"])
def test_w11_servers_1_four_letter_words_are_answered(hosts, word):
    port = int(hosts.rpartition(":")[2])
    answers = {said(port, word.encode())[:4] for _ in range(ROUNDS)}
    assert len(answers) == 1 and answers != {b""}
