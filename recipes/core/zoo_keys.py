"""ZooKeeper's keys that have no effect here or are refused, and values that Apache corrects.

Source: zookeeperAdmin.md of 3.8 and 3.9; QuorumPeerConfig.java; Integer.getInteger and Boolean.getBoolean for the keys
that Apache hands on as properties of its JVM. docs/configuration.md lists all keys.
"""

import re

_LONGEST = {"int": 1 << 31, "long": 1 << 63}
_DECIMAL = re.compile(r"[+-]?[0-9]+")
_OTHER_BASE = re.compile(r"([+-]?)(?:0[xX]|#)([0-9a-fA-F]+)|([+-]?)0([0-7]+)")

_LOAD = "there is no such limit here"
_SASL = "SASL is not supported"
# Keys that have no effect, with what is said of them; those without a word tune what works in another way here.
NO_EFFECT: dict[str, str] = dict.fromkeys(
    (
        "clientPortListenBacklog", "globalOutstandingLimit", "commitLogCount", "fsync.warningthresholdms",
        "maxResponseCacheSize", "maxGetChildrenResponseCacheSize",
        "syncEnabled", "watchManagerName", "watcherCleanThreadsNum", "watcherCleanThreshold",
        "watcherCleanIntervalInSeconds", "maxInProcessingDeadWatchers", "bitHashCacheSize",
        "fastleader.minNotificationInterval", "fastleader.maxNotificationInterval", "serverCnxnFactory", "flushDelay",
        "maxWriteQueuePollTime", "maxBatchSize", "requestThrottleStallTime", "requestThrottleDropStale",
        "requestStaleLatencyCheck", "requestStaleConnectionCheck", "request_throttler.shutdownTimeout",
        "advancedFlowControlEnabled", "enableEagerACLCheck",
        "digest.enabled", "snapshot.compression.method", "audit.impl.class",
        "netty.server.earlyDropSecureConnectionHandshakes",
        "throttledOpWaitTime", "learner.closeSocketAsync", "leader.closeSocketAsync", "learner.asyncSending",
        "forward_learner_requests_to_commit_processor_disabled", "serializeLastProcessedZxid.enabled",
        "maxTimeToWaitForEpoch", "connectToLearnerMasterLimit", "cnxTimeout", "quorumCnxnTimeoutMs", "tcpKeepAlive",
        "clientTcpKeepAlive", "observer.reconnectDelayMs", "observer.election.DelayMs", "enforce.auth.schemes",
        "ssl.trustStore.password", "ssl.quorum.trustStore.password", "ssl.trustStore.passwordPath",
        "ssl.quorum.trustStore.passwordPath", "ssl.hostnameVerification", "ssl.handshakeDetectionTimeoutMillis",
        "ssl.quorum.handshakeDetectionTimeoutMillis", "ssl.sslProvider", "ssl.allowReverseDnsLookup",
        "ssl.quorum.allowReverseDnsLookup", "kerberos.removeHostFromPrincipal", "kerberos.removeRealmFromPrincipal",
        "kerberos.canonicalizeHostNames", "jaasLoginRenew", "multiAddress.enabled",
        "multiAddress.reachabilityCheckTimeoutMs", "multiAddress.reachabilityCheckEnabled",
        "follower.skipLearnerRequestToNextProcessor", "jute.maxbuffer.extrasize", "nio.numSelectorThreads",
        "nio.numWorkerThreads", "commitProcessor.numWorkerThreads", "commitProcessor.maxReadBatchSize",
        "commitProcessor.maxCommitBatchSize", "messageTracker.BufferSize", "messageTracker.Enabled",
        "admin.idleTimeout", "admin.rateLimiterIntervalInMS", "admin.snapshot.enabled", "admin.restore.enabled",
        "metricsProvider.exportJvmInfo", "metricsProvider.numWorkerThreads",
        "metricsProvider.maxQueueSize", "metricsProvider.workerShutdownTimeoutMs", "quorum.cnxn.threads.size",
        "quorum.auth.learner.saslLoginContext", "quorum.auth.server.saslLoginContext",
        "quorum.auth.kerberos.servicePrincipal", "dynamicConfigFile",
    ),
    "",
) | {
    "connectionMaxTokens": _LOAD, "connectionTokenFillTime": _LOAD, "connectionTokenFillCount": _LOAD,
    "connectionFreezeTime": _LOAD, "connectionDropIncrease": _LOAD, "connectionDropDecrease": _LOAD,
    "connectionDecreaseRatio": _LOAD, "connection_throttle_weight_enabled": _LOAD,
    "connection_throttle_global_session_weight": _LOAD, "connection_throttle_local_session_weight": _LOAD,
    "connection_throttle_renew_session_weight": _LOAD, "requestThrottleLimit": _LOAD,
    "largeRequestMaxBytes": _LOAD, "largeRequestThreshold": _LOAD,
    "observerMasterPort": "observers connect to the leader",
    "localSessionsEnabled": "every session is known to all servers",
    "localSessionsUpgradingEnabled": "every session is known to all servers",
    "X509AuthenticationProvider.superUser": "a certificate gives no superuser's rights",
    "superUser": "SASL is not supported; DigestAuthenticationProvider.superDigest gives a superuser's rights",
    "IPAuthenticationProvider.usexforwardedfor": "the address of a client is that of its connection",
    "audit.enable": "there is no audit log",
    "fips-mode": "OpenSSL does TLS, and has settings of its own",
}  # fmt: skip

_OFF = ("false",)
_NO_REVOCATION = "revocation of certificates is not checked"
_NO_RELOAD = "certificates are read at the start: restart one server after the other"
_NO_CLIENT_NAMES = "the name of a client's host is not compared with its certificate"
_ADMIN_HTTP = "the admin server speaks HTTP without TLS: leave it on 127.0.0.1"
_CHOICE_OF_TLS = "TLS is made by this library"
# Keys that protect data or access, or change how either is read: what has no effect here must not be thought to have
# one. With the values that ask for nothing, in lower case, and what the others would need.
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "sessionRequireClientSASLAuth": (_OFF, _SASL), "quorum.auth.enableSasl": (_OFF, _SASL),
    "quorum.auth.learnerRequireSasl": (_OFF, _SASL), "quorum.auth.serverRequireSasl": (_OFF, _SASL),
    "requireClientAuthScheme": (("none",), _SASL),
    "enforce.auth.enabled": (_OFF, "clients without credentials are served: protect znodes by ACLs"),
    "ensembleAuthName": (("",), "the ensemble's name in a client's request is not checked"),
    "DigestAuthenticationProvider.enabled": (("true",), "digest identities are always known"),
    "DigestAuthenticationProvider.digestAlg": (("sha1",), "digest identities are made with SHA1"),
    "ssl.authProvider": (("x509",), "the identity in a certificate is its subject"),
    "ssl.context.supplier.class": (("",), _CHOICE_OF_TLS), "ssl.quorum.context.supplier.class": (("",), _CHOICE_OF_TLS),
    "ssl.crl": (_OFF, _NO_REVOCATION), "ssl.ocsp": (_OFF, _NO_REVOCATION),
    "ssl.quorum.crl": (_OFF, _NO_REVOCATION), "ssl.quorum.ocsp": (_OFF, _NO_REVOCATION),
    "ssl.clientHostnameVerification": (_OFF, _NO_CLIENT_NAMES),
    "sslQuorumReloadCertFiles": (_OFF, _NO_RELOAD), "client.certReload": (_OFF, _NO_RELOAD),
    "admin.forceHttps": (_OFF, _ADMIN_HTTP), "admin.portUnification": (_OFF, _ADMIN_HTTP),
    "admin.needClientAuth": (_OFF, _ADMIN_HTTP),
    "emulate353TTLNodes": (_OFF, "times to live are read as since ZooKeeper 3.5.4"),
    "oraclePath": (("",), "only servers decide what is a quorum"),
    "reconfigEnabled": (_OFF, "the list of servers is changed by restarts, one server after the other"),
}  # fmt: skip
_PROVIDERS = ("DigestAuthenticationProvider", "IPAuthenticationProvider", "X509AuthenticationProvider")


def refusal(key: str, value: str) -> str:
    """What is expected in place of this value of a key that has no effect; empty where it does no harm."""
    if key == "authProvider" or key.startswith("authProvider."):
        if value.rpartition(".")[2] in _PROVIDERS:
            return ""
        return f"one of {', '.join(_PROVIDERS)}: {_SASL if 'SASL' in value else 'other identities are not known here'}"
    harmless, why = REFUSED.get(key, ((value.lower(),), ""))
    return "" if value.lower() in harmless else f"{harmless[0] or 'no such key'}: {why}"


def is_without_effect(key: str) -> bool:
    """Whether this key of ZooKeeper's is none of the settings, though it is known."""
    return key in NO_EFFECT or key in REFUSED or key == "authProvider" or key.startswith("authProvider.")


def whole_number(text: str, kind: str = "int", *, other_bases: bool = False) -> int | None:
    """The number, as Java's parseInt reads it, or its decode: that knows 0x10, #10 and, for 8, 010. None if it is none.

    kind: "int" or "long", which limits it.
    """
    if other_bases and (found := _OTHER_BASE.fullmatch(text)):
        sign, hexadecimal, octal_sign, octal = found.groups()
        number = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
        number = -number if (sign or octal_sign) == "-" else number
    elif _DECIMAL.fullmatch(text):
        number = int(text)
    else:
        return None
    return number if -_LONGEST[kind] <= number < _LONGEST[kind] else None


# Keys of zoo.cfg that Apache reads as properties of its JVM: what is no such value counts as the default.
_SYSTEM_NUMBERS = frozenset(
    ("maxCnxns", "snapCount", "nio.sessionlessCnxnTimeout", "jute.maxbuffer", "admin.serverPort",
     "electionPortBindRetry", "znode.container.checkIntervalMs", "znode.container.maxPerMinute",
     "outstandingHandshake.limit", "maxConcurrentSnapSyncs", "maxConcurrentDiffSyncs",
     "znode.container.maxNeverUsedIntervalMs", "snapSizeLimitInKb", "txnLogSizeLimitInKb")
)  # fmt: skip
_LONG = frozenset(("preAllocSize", "snapSizeLimitInKb", "txnLogSizeLimitInKb"))
_SYSTEM_FLAGS = frozenset(
    ("client.portUnification", "extendedTypesEnabled", "enforceQuota", "snapshot.trust.empty", "readonlymode.enabled")
)
_LEAST = {
    "snapCount": 2, "autopurge.snapRetainCount": 3, "autopurge.purgeInterval": 0, "maxClientCnxns": 0, "maxCnxns": 0,
    "preAllocSize": 0, "electionPortBindRetry": 0, "outstandingHandshake.limit": 0,
    "znode.container.maxNeverUsedIntervalMs": 0,
    "snapSizeLimitInKb": 0, "txnLogSizeLimitInKb": 0,
}  # fmt: skip
_SAID = ("snapCount", "autopurge.snapRetainCount")
# Where one word counts, and every other value is its opposite: the key's word, and the opposite.
_WORDS = {
    "forceSync": ("no", "yes"), "leaderServes": ("no", "yes"), "skipACL": ("yes", "no"),
    "admin.enableServer": ("false", "true"),
}  # fmt: skip


def correct(key: str, value: str) -> tuple[str | None, str]:
    """The value that Apache goes on with, None for its default; and what to say about it, if anything.

    A value that Apache takes as it is, or refuses, comes back unchanged.
    """
    if key in _WORDS:
        word, other = _WORDS[key]
        return (value, "") if value in (word, other) else (other, f"neither {word} nor {other}: taken for {other}")
    if key in _SYSTEM_FLAGS:
        lowered = value.lower()
        return (lowered, "") if lowered in ("true", "false") else ("false", "neither true nor false: taken for false")
    if key not in _LEAST and key not in _SYSTEM_NUMBERS:
        return value, ""
    number = whole_number(value, "long" if key in _LONG else "int", other_bases=key in _SYSTEM_NUMBERS)
    if number is None:
        has_default = key in _SYSTEM_NUMBERS or key == "preAllocSize"
        return (None, "not a whole number: the default is used") if has_default else (value, "")
    least = _LEAST.get(key)
    if least is None or number >= least:
        return str(number), ""
    return str(least), f"less than {least}: taken for {least}" if key in _SAID else ""
