"""The zoo.cfg that images, operators and guides of others write: same keys and values, our ports and directories.

JKS, SASL and reconfiguration aside, which are refused by name.
"""

import asyncio
from contextlib import AsyncExitStack, closing

import pytest
import trustme

from recipes.core.config import parse_zoo_cfg
from recipes.core.errors import ConfigError
from recipes.core.server.server import Server
from tests.ports import ReservedPorts

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
NETTY = "org.apache.zookeeper.server.NettyServerCnxnFactory"
X509 = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"
SASL = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
# By name: the source, the lines, and how a line server.N ends; without one it is a server alone.
PUBLISHED = {
    "official image": (  # github.com/31z4/zookeeper-docker, 3.9.5/docker-entrypoint.sh and its defaults
        "dataDir={data}\ndataLogDir={log}\ntickTime=2000\ninitLimit=5\nsyncLimit=2\nautopurge.snapRetainCount=3\n"
        "autopurge.purgeInterval=0\nmaxClientCnxns=60\nstandaloneEnabled=true\nadmin.enableServer=true\n"
        "server.1=localhost:{quorum}:{election};{client}\n4lw.commands.whitelist=srvr,mntr\n",
        None,
    ),
    "official image, three": (  # with ZOO_SERVERS
        "dataDir={data}\ndataLogDir={log}\ntickTime=2000\ninitLimit=5\nsyncLimit=2\nautopurge.snapRetainCount=3\n"
        "autopurge.purgeInterval=0\nmaxClientCnxns=60\nstandaloneEnabled=true\nadmin.enableServer=true\n{servers}",
        ";{client}",
    ),
    "Kafka": (  # github.com/apache/kafka, config/zookeeper.properties
        "dataDir={data}\nclientPort={client}\nmaxClientCnxns=0\nadmin.enableServer=false\n",
        None,
    ),
    "bitnami": (  # github.com/bitnami/containers, zookeeper/3.8/.../libzookeeper.sh, with metrics
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\nclientPort={client}\nmaxClientCnxns=60\n"
        "autopurge.snapRetainCount=3\nautopurge.purgeInterval=0\npreAllocSize=65536\nsnapCount=100000\nmaxCnxns=0\n"
        "reconfigEnabled=false\nquorumListenOnAllIPs=false\n4lw.commands.whitelist=srvr, mntr\n"
        "maxSessionTimeout=40000\nadmin.serverPort=0\nadmin.enableServer=true\n{servers}peerType=participant\n"
        f"metricsProvider.className={PROMETHEUS}\nmetricsProvider.httpPort=0\nmetricsProvider.exportJvmInfo=true\n",
        ";{client}",
    ),
    "ClickHouse": (  # github.com/ClickHouse/ClickHouse, docs/en/operations/tips.md
        "tickTime=2000\ninitLimit=300\nsyncLimit=10\nmaxClientCnxns=2000\nmaxSessionTimeout=60000000\ndataDir={data}\n"
        "dataLogDir={log}\nautopurge.snapRetainCount=10\nautopurge.purgeInterval=1\npreAllocSize=131072\n"
        "snapCount=3000000\nleaderServes=yes\nstandaloneEnabled=false\ndynamicConfigFile={dynamic}\n",
        ":participant;{client}",
    ),
    "HDP": (  # github.com/apache/ambari, common-services/ZOOKEEPER/3.4.5/configuration/zoo.cfg.xml, and zoo.cfg.j2
        "autopurge.purgeInterval=24\nautopurge.snapRetainCount=30\nclientPort={client}\ndataDir={data}\ninitLimit=10\n"
        "syncLimit=5\ntickTime=2000\n{servers}",
        "",
    ),
    "pravega": (  # github.com/pravega/zookeeper-operator, pkg/zk/generators.go, without reconfigEnabled=true
        "4lw.commands.whitelist=cons, envi, conf, crst, srvr, stat, mntr, ruok\ndataDir={data}\n"
        f"standaloneEnabled=false\nskipACL=yes\nmetricsProvider.className={PROMETHEUS}\n"
        "metricsProvider.httpPort=0\nmetricsProvider.exportJvmInfo=true\ninitLimit=10\nsyncLimit=2\ntickTime=2000\n"
        "globalOutstandingLimit=1000\npreAllocSize=65536\nsnapCount=10000\ncommitLogCount=500\n"
        "snapSizeLimitInKb=4194304\nmaxCnxns=0\nmaxClientCnxns=60\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n"
        "autopurge.snapRetainCount=3\nautopurge.purgeInterval=1\nquorumListenOnAllIPs=false\n"
        "dynamicConfigFile={dynamic}\n",
        ":participant;{client}",
    ),
    "stackable": (  # github.com/stackabletech/zookeeper-operator, .../properties/zoo_cfg.rs, crd/security.rs; PEM files
        "admin.serverPort=0\nclientPort={client}\ndataDir={data}\ninitLimit=5\nsyncLimit=2\ntickTime=3000\n"
        f"metricsProvider.className={PROMETHEUS}\nmetricsProvider.httpPort=0\nsslQuorum=true\n"
        f"ssl.quorum.hostnameVerification=true\nssl.quorum.clientAuth=need\nserverCnxnFactory={NETTY}\n"
        f"authProvider.x509={X509}\nssl.quorum.keyStore.location={{key}}\nssl.quorum.trustStore.location={{trust}}\n"
        "client.portUnification=true\nssl.hostnameVerification=true\nssl.keyStore.location={key}\n"
        "ssl.trustStore.location={trust}\nssl.clientAuth=need\n{servers}",
        ";{client}",
    ),
}
WARNED = {"pravega": "skipACL=yes"}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", PUBLISHED)
async def test_servers_7_a_published_configuration_serves(tmp_path, name):
    form, end = PUBLISHED[name]
    sids = (1,) if end is None else (1, 2, 3)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "trust.pem")
    with closing(ReservedPorts()) as ports:
        client = {sid: ports.take() for sid in sids}
        lines = {
            sid: f"server.{sid}=127.0.0.1:{ports.take()}:{ports.take()}{(end or '').format(client=client[sid])}\n"
            for sid in sids
        }
        (tmp_path / "zoo.cfg.dynamic").write_text("".join(lines.values()))
        async with AsyncExitStack() as stack:
            servers = []
            for sid in sids:
                data = tmp_path / str(sid)
                data.mkdir()
                (data / "myid").write_text(f"{sid}\n")
                text = form.format(
                    data=data, log=data / "log", client=client[sid], quorum=ports.take(), election=ports.take(),
                    servers="".join(lines.values()), dynamic=tmp_path / "zoo.cfg.dynamic", key=tmp_path / "key.pem",
                    trust=tmp_path / "trust.pem",
                )  # fmt: skip
                config, warnings = parse_zoo_cfg(text, "zoo.cfg")
                assert all(WARNED.get(name, "nothing") in said for said in warnings), warnings
                config = config.model_copy(update={"admin_port": 0})
                servers.append(await stack.enter_async_context(Server(config)))
            async with asyncio.timeout(120):
                while not all(server.member.serving for server in servers):
                    await asyncio.sleep(0.02)
            for server, port in zip(servers, client.values(), strict=True):
                assert server.client_port == port
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"srvr")
                assert b"Mode: " in await reader.read()
                writer.close()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pravega", "reconfigEnabled=true"),
        ("bitnami", f"authProvider.1={SASL}"),
        ("bitnami", "requireClientAuthScheme=sasl"),
        ("bitnami", "quorum.auth.enableSasl=true"),
        ("bitnami", "ssl.keyStore.location=/keystore.jks"),
        ("stackable", "ssl.quorum.keyStore.location=/stackable/quorum_tls/keystore.p12"),
        ("stackable", "ssl.trustStore.location=/stackable/server_tls/truststore.p12"),
    ],
)
def test_what_published_ones_add_is_refused_by_name(tmp_path, name, line):
    (tmp_path / "dynamic").write_text("server.1=a:1:2;2181\nserver.2=b:1:2;2181\n")
    text = PUBLISHED[name][0].format(
        data=tmp_path, log=tmp_path, client=2181, servers="server.1=a:1:2\nserver.2=b:1:2\n",
        dynamic=tmp_path / "dynamic", key="/k.pem", trust="/t.pem",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=f"{line}: expected "):
        parse_zoo_cfg(f"{text}\nmyid=1\n{line}\n", "zoo.cfg")
