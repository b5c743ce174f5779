"""Each row of docs/configuration.md: what becomes of the keys of Apache's administrator's guide.

How Apache takes the values of the second table: tests/conformance/test_zoo_cfg.py.
"""

import re
from pathlib import Path

import pytest

from recipes.core.config import ServerConfig, parse_zoo_cfg
from recipes.core.errors import ConfigError

PAGE = (Path(__file__).parent.parent.parent / "docs" / "configuration.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| ((?:`[^`]+` ?)+) \| (works|no effect|refused) \| (.*) \|$", PAGE, re.MULTILINE)
CORRECTED = re.findall(r"^\| `([^`]+)` \| (?:`([^`]+)`|the default) \|$", PAGE, re.MULTILINE)
# The names in zookeeperAdmin.md of 3.8.0 and 3.9.5, without `zookeeper.`, which a line of zoo.cfg does not have.
GUIDE = """
clientPort secureClientPort observerMasterPort dataDir tickTime dataLogDir globalOutstandingLimit preAllocSize
snapCount commitLogCount snapSizeLimitInKb txnLogSizeLimitInKb maxCnxns maxClientCnxns clientPortAddress
minSessionTimeout maxSessionTimeout fsync.warningthresholdms maxResponseCacheSize maxGetChildrenResponseCacheSize
autopurge.snapRetainCount autopurge.purgeInterval syncEnabled extendedTypesEnabled emulate353TTLNodes watchManagerName
watcherCleanThreadsNum watcherCleanThreshold watcherCleanIntervalInSeconds maxInProcessingDeadWatchers
bitHashCacheSize fastleader.minNotificationInterval fastleader.maxNotificationInterval connectionMaxTokens
connectionTokenFillTime connectionTokenFillCount connectionFreezeTime connectionDropIncrease connectionDropDecrease
connectionDecreaseRatio connection_throttle_weight_enabled connection_throttle_global_session_weight
connection_throttle_local_session_weight connection_throttle_renew_session_weight clientPortListenBacklog
serverCnxnFactory flushDelay maxWriteQueuePollTime maxBatchSize enforceQuota requestThrottleLimit
requestThrottleStallTime requestThrottleDropStale requestStaleLatencyCheck requestStaleConnectionCheck
request_throttler.shutdownTimeout advancedFlowControlEnabled enableEagerACLCheck maxConcurrentSnapSyncs
maxConcurrentDiffSyncs digest.enabled snapshot.compression.method snapshot.trust.empty audit.enable audit.impl.class
largeRequestMaxBytes largeRequestThreshold outstandingHandshake.limit netty.server.earlyDropSecureConnectionHandshakes
throttledOpWaitTime learner.closeSocketAsync leader.closeSocketAsync learner.asyncSending
forward_learner_requests_to_commit_processor_disabled serializeLastProcessedZxid.enabled electionAlg
maxTimeToWaitForEpoch initLimit connectToLearnerMasterLimit leaderServes server.x syncLimit group.x weight.x
cnxTimeout quorumCnxnTimeoutMs standaloneEnabled reconfigEnabled 4lw.commands.whitelist tcpKeepAlive
clientTcpKeepAlive electionPortBindRetry observer.reconnectDelayMs observer.election.DelayMs localSessionsEnabled
localSessionsUpgradingEnabled DigestAuthenticationProvider.enabled DigestAuthenticationProvider.superDigest
DigestAuthenticationProvider.digestAlg IPAuthenticationProvider.usexforwardedfor X509AuthenticationProvider.superUser
superUser ssl.authProvider ensembleAuthName sessionRequireClientSASLAuth enforce.auth.enabled enforce.auth.schemes
sslQuorum ssl.keyStore.location ssl.keyStore.password ssl.quorum.keyStore.location ssl.quorum.keyStore.password
ssl.keyStore.passwordPath ssl.quorum.keyStore.passwordPath ssl.keyStore.type ssl.quorum.keyStore.type
ssl.trustStore.location ssl.trustStore.password ssl.quorum.trustStore.location ssl.quorum.trustStore.password
ssl.trustStore.passwordPath ssl.quorum.trustStore.passwordPath ssl.trustStore.type ssl.quorum.trustStore.type
ssl.protocol ssl.quorum.protocol ssl.enabledProtocols ssl.quorum.enabledProtocols ssl.ciphersuites
ssl.quorum.ciphersuites ssl.context.supplier.class ssl.quorum.context.supplier.class ssl.hostnameVerification
ssl.quorum.hostnameVerification ssl.clientHostnameVerification ssl.quorum.clientHostnameVerification
ssl.allowReverseDnsLookup ssl.quorum.allowReverseDnsLookup ssl.crl ssl.quorum.crl ssl.ocsp ssl.quorum.ocsp
ssl.clientAuth ssl.quorum.clientAuth ssl.handshakeDetectionTimeoutMillis ssl.quorum.handshakeDetectionTimeoutMillis
ssl.sslProvider sslQuorumReloadCertFiles client.certReload client.portUnification portUnification authProvider
kerberos.removeHostFromPrincipal kerberos.removeRealmFromPrincipal kerberos.canonicalizeHostNames fips-mode
multiAddress.enabled multiAddress.reachabilityCheckTimeoutMs multiAddress.reachabilityCheckEnabled
readonlymode.enabled follower.skipLearnerRequestToNextProcessor forceSync jute.maxbuffer jute.maxbuffer.extrasize
skipACL quorumListenOnAllIPs datadir.autocreate db.autocreate nio.numSelectorThreads nio.numWorkerThreads
commitProcessor.numWorkerThreads commitProcessor.maxReadBatchSize commitProcessor.maxCommitBatchSize
znode.container.checkIntervalMs znode.container.maxPerMinute znode.container.maxNeverUsedIntervalMs
messageTracker.BufferSize messageTracker.Enabled admin.forceHttps admin.portUnification admin.needClientAuth
admin.enableServer admin.serverAddress admin.serverPort admin.commandURL admin.idleTimeout
admin.rateLimiterIntervalInMS admin.snapshot.enabled admin.restore.enabled metricsProvider.className
metricsProvider.httpHost metricsProvider.httpPort metricsProvider.exportJvmInfo metricsProvider.numWorkerThreads
metricsProvider.maxQueueSize metricsProvider.workerShutdownTimeoutMs
""".split()
THREE = "".join(f"server.{sid}=h{sid}:2888:3888\n" for sid in (1, 2, 3))
LEAST = f"dataDir=/data\nclientPort=2181\nmyid=1\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\n{THREE}"
WARNED = "a warning"


def parse(lines: str) -> tuple[dict[str, object], list[str]]:
    config, warnings = parse_zoo_cfg(LEAST + lines, "zoo.cfg")
    return vars(config) | {"source_text": None, "membership": config.membership and _as_text(config)}, warnings


def _as_text(config: ServerConfig) -> bytes:
    assert config.membership is not None
    return config.membership.config_text()


def test_servers_7_the_page_has_every_key_of_the_guide_once():
    assert sorted(key for key, *_ in ROWS) == sorted(GUIDE)
    assert len(CORRECTED) > 20


@pytest.mark.parametrize(("key", "example", "kind", "note"), ROWS, ids=[key for key, *_ in ROWS])
def test_servers_5_interop_4_a_key_does_what_the_page_says(key, example, kind, note):
    lines = "".join(f"{line}\n" for line in re.findall(r"`([^`]+)`", example))
    if kind == "refused":
        with pytest.raises(ConfigError, match=f"^zoo.cfg:10: {key.replace('.', '[.]')}.*: expected "):
            parse(lines)
        return
    config, warnings = parse(lines)
    assert (config != parse("")[0]) == (kind == "works") or key == "electionAlg"
    assert [WARNED in note] == [bool(warnings)] and all(f"zoo.cfg:10: {key}" in said for said in warnings)


@pytest.mark.parametrize(("stated", "counts_as"), CORRECTED, ids=[stated for stated, _ in CORRECTED])
def test_servers_7_a_value_is_corrected_as_apache_does(stated, counts_as):
    assert parse(f"{stated}\n")[0] == parse(f"{counts_as}\n")[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("snapCount=1", "snapCount=1: less than 2: taken for 2"),
        ("snapCount=100 # often", "snapCount=100 # often: not a whole number: the default is used"),
        ("autopurge.snapRetainCount=1", "less than 3: taken for 3"),
        ("extendedTypesEnabled=yes", "neither true nor false: taken for false"),
        ("skipACL=true", "neither yes nor no: taken for no"),
        ("skipACL=yes", "skipACL=yes: any client may do anything to any znode"),
        ("zookeeper.skipACL=yes", "zookeeper.skipACL is not a known key: in a file it is skipACL; it has no effect"),
        ("maxCnxns=-1", ""),  # a usual way to say none
    ],
)
def test_servers_7_what_may_have_been_meant_otherwise_is_said(line, said):
    warnings = parse(f"{line}\n")[1]
    assert (said in warnings[0] and len(warnings) == 1) if said else warnings == []


PROMETHEUS = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n"


@pytest.mark.parametrize(
    ("lines", "port", "address"),
    [
        ("", None, "0.0.0.0"),
        (PROMETHEUS, 7000, "0.0.0.0"),
        (f"{PROMETHEUS}metricsProvider.httpPort=7001\n", 7001, "0.0.0.0"),
        (f"{PROMETHEUS}metricsProvider.httpHost=127.0.0.1\n", 7000, "127.0.0.1"),
        ("metricsProvider.httpPort=7001\n", 7001, "0.0.0.0"),
        ("metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider\n", None, "0.0.0.0"),
    ],
)
def test_servers_8_the_port_for_prometheus_is_apaches(lines, port, address):
    settings, warnings = parse(lines)
    assert (settings["metrics_port"], settings["metrics_address"], warnings) == (port, address, [])


def test_servers_8_an_unknown_provider_is_warned_of():
    assert "Other is not known here" in parse("metricsProvider.className=my.Other\n")[1][0]


def test_interop_6_skip_acl_is_the_operators_choice():
    assert parse("skipACL=yes\n")[0]["skip_acl"] is True


def test_a_secure_port_alone_stays_alone():
    keys = "secureClientPort=2281\nssl.keyStore.location=/k.pem\nssl.trustStore.location=/t.pem\n"
    assert parse(f"clientPort=0\n{keys}")[0]["client_port"] is None
    assert parse("clientPort=0\n")[0]["client_port"] == 0
    with pytest.raises(ConfigError, match="secureClientPort is missing"):
        parse("secureClientPortAddress=127.0.0.1\n")
