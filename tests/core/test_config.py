import re
from pathlib import Path

import pytest

from recipes.core.config import parse_zoo_cfg
from recipes.core.errors import ConfigError

LEAST = "dataDir=/data\nclientPort=2181\n"


def test_the_sample_file_of_zookeeper_is_understood_without_a_warning():
    text = "# comment\n! another\ntickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/data\nclientPort=2181\n"
    config, warnings = parse_zoo_cfg(text, "zoo.cfg")
    assert (config.tick_time_ms, config.data_dir, config.client_port) == (2000, Path("/data"), 2181)
    assert config.session_timeouts_ms == (4000, 40000)
    assert config.client_address == "0.0.0.0"
    assert warnings == []


def test_properties_may_use_colons_blanks_and_continued_lines():
    text = "dataDir: /data\nclientPort 2182\n4lw.commands.whitelist = ruok, \\\n   mntr\n"
    config, _ = parse_zoo_cfg(text, "zoo.cfg")
    assert config.client_port == 2182
    assert config.four_letter_whitelist == ("ruok", "mntr")


def test_an_unknown_key_warns_and_names_its_line():
    _, warnings = parse_zoo_cfg(LEAST + "tickTme=2000\n", "zoo.cfg")
    assert len(warnings) == 1
    assert warnings[0].startswith("zoo.cfg:3: tickTme")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("tickTime=fast", "tickTime"),
        ("tickTime=0", "tickTime"),
        ("maxClientCnxns=1_000", "maxClientCnxns"),
        ("clientPort=1.0", "clientPort"),
        ("dataLogDir=", "dataLogDir"),
        ("ssl.keyStore.type=JKS", "ssl.keyStore.type"),
        ("ssl.clientAuth=maybe", "ssl.clientAuth"),
        ("admin.serverPort=70000", "admin.serverPort"),
        ("server.1=a:2888", "server.1"),
        ("initLimit=0", "initLimit"),
        ("syncLimit=often", "syncLimit"),
        ("maxConcurrentSnapSyncs=0", "maxConcurrentSnapSyncs"),
        ("maxConcurrentDiffSyncs=-1", "maxConcurrentDiffSyncs"),
        ("ssl.quorum.clientHostnameVerification=maybe", "ssl.quorum.clientHostnameVerification"),
        ("electionAlg=1", "electionAlg"),
        ("peerType=boss", "peerType"),
        ("standaloneEnabled=maybe", "standaloneEnabled"),
        ("sslQuorum=maybe", "sslQuorum"),
        ("ssl.quorum.keyStore.type=JKS", "ssl.quorum.keyStore.type"),
        ("quorumListenOnAllIPs=maybe", "quorumListenOnAllIPs"),
        ("myid=x", "myid"),
        ("sessionRequireClientSASLAuth=true", "sessionRequireClientSASLAuth"),
        ("enforce.auth.enabled=TRUE", "enforce.auth.enabled"),
        ("quorum.auth.enableSasl=true", "quorum.auth.enableSasl"),
        ("quorum.auth.learnerRequireSasl=true", "quorum.auth.learnerRequireSasl"),
        ("quorum.auth.serverRequireSasl=true", "quorum.auth.serverRequireSasl"),
        ("ssl.crl=true", "ssl.crl"),
        ("ssl.ocsp=true", "ssl.ocsp"),
        ("ssl.quorum.crl=true", "ssl.quorum.crl"),
        ("ssl.quorum.ocsp=true", "ssl.quorum.ocsp"),
        ("sslQuorumReloadCertFiles=true", "sslQuorumReloadCertFiles"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(line, key):
    with pytest.raises(ConfigError) as caught:
        parse_zoo_cfg(LEAST + line + "\n", "zoo.cfg")
    assert (caught.value.key, caught.value.source, caught.value.line) == (key, "zoo.cfg", 3)
    assert str(caught.value).startswith(f"zoo.cfg:3: {line}: expected ")


@pytest.mark.parametrize(
    "text",
    [
        "clientPort=2181\n",
        "dataDir=/data\n",
        "dataDir=/data\nclientPortAddress=127.0.0.1\n",
        "dataDir=/data\nsecureClientPort=2281\n",
        LEAST + "minSessionTimeout=9000\nmaxSessionTimeout=8000\n",
        LEAST + "sslQuorum=true\n",
        LEAST + "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\n",
    ],
)
def test_settings_that_do_not_go_together_are_refused(text):
    with pytest.raises(ConfigError):
        parse_zoo_cfg(text, "zoo.cfg")


def test_servers_6_a_directory_that_only_java_finds_is_not_left_aside(tmp_path):
    text = f"dataDir={tmp_path}/ü\nclientPort=2181\n"
    assert parse_zoo_cfg(text, "zoo.cfg")[0].data_dir == tmp_path / "ü"
    (tmp_path / "Ã¼" / "version-2").mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"Java reads {tmp_path}/Ã¼, where data is"):
        parse_zoo_cfg(text, "zoo.cfg")
    assert parse_zoo_cfg(text.replace("ü", "\\u00fc"), "zoo.cfg")[0].data_dir == tmp_path / "ü"


def test_servers_6_the_file_for_the_ensemble_is_read_alike(tmp_path):
    (tmp_path / "dynamic").write_bytes(b"# \xfc\nserver.1=a\\:1\\:2\nserver.2=b\\:1\\:2\n")
    text = f"{LEAST}myid=1\ninitLimit=2\nsyncLimit=2\ndynamicConfigFile={tmp_path}/dynamic\n"
    membership = parse_zoo_cfg(text, "zoo.cfg")[0].membership
    assert membership is not None
    assert membership.servers[2].host == "b"


def test_tls_keys_are_understood():
    text = "dataDir=/d\nsecureClientPort=2281\nssl.keyStore.location=/k.pem\nssl.trustStore.location=/t.pem\n"
    config, warnings = parse_zoo_cfg(text + "ssl.clientAuth=WANT\n", "zoo.cfg")
    assert (config.client_port, config.secure_client_port, config.ssl_client_auth) == (None, 2281, "want")
    assert warnings == []


def test_peers_have_tls_keys_of_their_own():
    text = LEAST + "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/t.pem\n"
    config, warnings = parse_zoo_cfg(text + "ssl.quorum.hostnameVerification=false\n", "zoo.cfg")
    assert config.ssl_quorum
    assert (config.ssl_quorum_key_store, config.ssl_quorum_trust_store) == (Path("/k.pem"), Path("/t.pem"))
    assert (config.ssl_quorum_client_auth, config.ssl_quorum_hostname_verification) == ("need", False)
    assert (config.ssl_key_store, warnings) == (None, [])


def test_a_key_that_is_missing_is_said_to_be(tmp_path):
    with pytest.raises(ConfigError) as caught:
        parse_zoo_cfg("clientPort=2181\n", "w.cfg")
    assert str(caught.value) == "w.cfg: dataDir is missing: expected a directory"


@pytest.mark.parametrize("key", ["dataDir", "dataLogDir"])
def test_a_file_is_no_directory(tmp_path, key):
    file = tmp_path / "file"
    file.write_text("")
    text = LEAST if key == "dataLogDir" else "clientPort=2181\n\n"
    with pytest.raises(ConfigError) as caught:
        parse_zoo_cfg(f"{text}{key}={file}\n", "w.cfg")
    assert str(caught.value) == f"w.cfg:3: {key}={file}: expected a directory: {file} is not a directory"


def test_protection_that_there_is_not_may_be_switched_off():
    lines = "quorum.auth.enableSasl=false\nssl.crl=False\nsslQuorumReloadCertFiles=false\n"
    assert parse_zoo_cfg(LEAST + lines, "zoo.cfg")[1] == []


def test_another_data_directory_has_the_number_of_its_own_server(tmp_path):
    for name, number in (("of the file", "1"), ("stated", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "myid").write_text(number)
    servers = "".join(f"server.{n}=127.0.0.1:{2000 + n}:{3000 + n}\n" for n in (1, 2, 3))
    text = f"dataDir={tmp_path}/of the file\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n{servers}"
    config, _ = parse_zoo_cfg(text, "zoo.cfg", tmp_path / "stated")
    assert (config.server_id, config.data_dir) == (2, tmp_path / "stated")
    with pytest.raises(ConfigError, match=f"myid is missing.*{tmp_path}/none/myid"):
        parse_zoo_cfg(text, "zoo.cfg", tmp_path / "none")


TWO = "dataDir=/data\nclientPort=2181\nmyid=1\ninitLimit=10\nsyncLimit=5\nserver.1=a:1:2\nserver.2=b:1:2\n"


def test_the_protocol_of_the_servers():
    assert parse_zoo_cfg(TWO, "zoo.cfg")[0].replication == "zab"
    for name in ("zab", "raft", "Raft"):
        config, warnings = parse_zoo_cfg(f"{TWO}protocol={name}\n", "zoo.cfg")
        assert (config.replication, warnings) == (name.lower(), [])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("protocol=paxos\n", "zoo.cfg:8: protocol=paxos: expected 'zab' or 'raft'"),
        (
            "protocol=multi-paxos\n",
            "zoo.cfg:8: protocol=multi-paxos: expected zab or raft: multi-paxos and primary-backup run in the "
            "simulator only, docs/multi-paxos.md",
        ),
        ("group.1=1\ngroup.2=2\nprotocol=raft\n", "zoo.cfg:10: protocol=raft: expected zab, since group.N"),
        ("group.1=1:2\nweight.1=2\nprotocol=raft\n", "zoo.cfg:10: protocol=raft: expected zab, since group.N"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused_by_name(lines, expected):
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}"):
        parse_zoo_cfg(TWO + lines, "zoo.cfg")


def test_a_server_alone_has_no_protocol():
    _, warnings = parse_zoo_cfg("dataDir=/data\nclientPort=2181\nprotocol=raft\n", "zoo.cfg")
    assert warnings == ["zoo.cfg:3: protocol has no effect: there are no other servers"]
