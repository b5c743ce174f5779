"""A server's settings: ZooKeeper's zoo.cfg keys, checked when they are read.

Source: QuorumPeerConfig.java; the file is a Java properties file.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipes.core.ensemble import KEYS, MAX_SID, Place, find_place, read_membership
from recipes.core.errors import ConfigError
from recipes.core.properties import Property, read_properties
from recipes.core.protocols import COUNTING_GROUPS, DEFAULT, NAMES, SHARING_SECRETS, SIMULATED
from recipes.core.quorum import Membership
from recipes.core.zoo_keys import NO_EFFECT, REFUSED, correct, is_without_effect, refusal
from recipes.core.zoo_values import (
    Boolean,
    ClientAuth,
    File,
    Limit,
    PeerType,
    Pem,
    Port,
    Positive,
    Protocol,
    Replication,
    Three,
    Whole,
    Words,
    YesNo,
)

SECRET_NEEDS: Final = (
    "sslQuorum=true, portUnification=false and ssl.quorum.clientAuth=need beside own: the secret is sent to the members"
)


class ServerConfig(BaseModel):
    """The settings of one server. Each field's alias is its key in zoo.cfg. Times in ms unless the name says otherwise.

    The fields whose values Apache corrects take the corrected ones only: `parse_zoo_cfg` corrects.

    membership: the ensemble, in which this server is `server_id`; None for a standalone server. `parse_zoo_cfg` sets
    both.

    Raises pydantic's ValidationError, a ValueError, for a value that is not valid and for a field that does not exist.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True
    )

    data_dir: File = Field(validation_alias="dataDir")
    data_log_dir: File | None = Field(default=None, validation_alias="dataLogDir")
    client_port: Port | None = Field(default=2181, validation_alias="clientPort")
    client_address: str = Field(default="127.0.0.1", validation_alias="clientPortAddress")
    secure_client_port: Port | None = Field(default=None, validation_alias="secureClientPort")
    secure_client_address: str = Field(default="127.0.0.1", validation_alias="secureClientPortAddress")
    sessionless_timeout_ms: Positive = Field(default=10000, validation_alias="nio.sessionlessCnxnTimeout")
    tick_time_ms: Positive = Field(default=3000, validation_alias="tickTime")
    min_session_timeout_ms: Whole = Field(default=-1, validation_alias="minSessionTimeout")
    max_session_timeout_ms: Whole = Field(default=-1, validation_alias="maxSessionTimeout")
    max_connections_per_ip: Limit = Field(default=60, validation_alias="maxClientCnxns")
    max_connections: Limit = Field(default=0, validation_alias="maxCnxns")
    most_handshakes: Limit = Field(default=250, validation_alias="outstandingHandshake.limit")  # of TLS at client ports
    snap_count: Annotated[Whole, Field(ge=2)] = Field(default=100000, validation_alias="snapCount")
    pre_alloc_size_kb: Limit = Field(default=65536, validation_alias="preAllocSize")
    snap_size_limit_kb: Limit = Field(default=4 << 20, validation_alias="snapSizeLimitInKb")  # 0: no limit
    log_size_limit_kb: Limit = Field(default=0, validation_alias="txnLogSizeLimitInKb")  # 0: no limit
    force_sync: YesNo = Field(default=True, validation_alias="forceSync")
    snap_retain_count: Annotated[Whole, Field(ge=3)] = Field(default=3, validation_alias="autopurge.snapRetainCount")
    purge_interval_hours: Limit = Field(default=0, validation_alias="autopurge.purgeInterval")
    four_letter_whitelist: Words = Field(default=("srvr",), validation_alias="4lw.commands.whitelist")
    extended_types: Boolean = Field(default=False, validation_alias="extendedTypesEnabled")
    enforce_quota: Boolean = Field(default=False, validation_alias="enforceQuota")
    super_digest: str | None = Field(
        default=None, validation_alias="DigestAuthenticationProvider.superDigest", repr=False
    )
    session_secret: Literal["zookeeper", "own"] = Field(default="zookeeper", validation_alias="sessionSecret")
    session_secret_file: Path | None = Field(default=None, validation_alias="sessionSecretFile")
    max_frame_bytes: Annotated[Whole, Field(ge=1024)] = Field(default=0xFFFFF, validation_alias="jute.maxbuffer")
    container_check_ms: Positive = Field(default=60000, validation_alias="znode.container.checkIntervalMs")
    container_max_per_check: Positive = Field(default=10000, validation_alias="znode.container.maxPerMinute")
    container_never_used_ms: Limit = Field(default=0, validation_alias="znode.container.maxNeverUsedIntervalMs")
    store_limit_mb: Limit | None = Field(default=None, validation_alias="storeMemoryLimitInMb")  # 0: no limit
    max_watches: Positive = Field(default=1_000_000, validation_alias="maxWatchesPerSession")
    create_directories: Boolean = Field(default=True, validation_alias="datadir.autocreate")
    trust_empty_database: Boolean = Field(default=True, validation_alias="db.autocreate")
    trust_missing_snapshot: Boolean = Field(default=False, validation_alias="snapshot.trust.empty")

    membership: Membership | None = None
    replication: Replication = Field(default=DEFAULT, validation_alias="protocol")
    server_id: int | None = Field(default=None, validation_alias="myid")
    peer_type: PeerType = Field(default="participant", validation_alias="peerType")
    standalone_enabled: Boolean = Field(default=True, validation_alias="standaloneEnabled")
    init_limit: Positive = Field(default=10, validation_alias="initLimit")  # ticks a learner may take to join
    sync_limit: Positive = Field(default=5, validation_alias="syncLimit")  # ticks it may then lag behind
    election_alg: Three = Field(default=3, validation_alias="electionAlg")
    election_port_tries: Limit = Field(default=3, validation_alias="electionPortBindRetry")  # 0: for ever
    quorum_listen_on_all_ips: Boolean = Field(default=False, validation_alias="quorumListenOnAllIPs")
    read_only_mode: Boolean = Field(default=False, validation_alias="readonlymode.enabled")
    leader_serves: YesNo = Field(default=True, validation_alias="leaderServes")
    most_snaps: Positive = Field(default=10, validation_alias="maxConcurrentSnapSyncs")
    most_diffs: Positive = Field(default=100, validation_alias="maxConcurrentDiffSyncs")
    ssl_quorum: Boolean = Field(default=False, validation_alias="sslQuorum")
    port_unification: Boolean = Field(default=False, validation_alias="portUnification")  # accept plain ones too
    ssl_quorum_key_store: Path | None = Field(default=None, validation_alias="ssl.quorum.keyStore.location")
    ssl_quorum_key_store_password: str | None = Field(
        default=None, validation_alias="ssl.quorum.keyStore.password", repr=False
    )
    ssl_quorum_key_store_password_file: Path | None = Field(
        default=None, validation_alias="ssl.quorum.keyStore.passwordPath"
    )
    ssl_quorum_key_store_type: Pem = Field(default="PEM", validation_alias="ssl.quorum.keyStore.type")
    ssl_quorum_trust_store: Path | None = Field(default=None, validation_alias="ssl.quorum.trustStore.location")
    ssl_quorum_trust_store_type: Pem = Field(default="PEM", validation_alias="ssl.quorum.trustStore.type")
    ssl_quorum_client_auth: ClientAuth = Field(default="need", validation_alias="ssl.quorum.clientAuth")
    ssl_quorum_hostname_verification: Boolean = Field(default=True, validation_alias="ssl.quorum.hostnameVerification")
    ssl_quorum_client_hostname_verification: Boolean = Field(
        default=True, validation_alias="ssl.quorum.clientHostnameVerification"
    )
    ssl_quorum_protocol: Protocol = Field(default=(), validation_alias="ssl.quorum.protocol")
    ssl_quorum_enabled_protocols: Words = Field(default=(), validation_alias="ssl.quorum.enabledProtocols")
    ssl_quorum_ciphers: Words = Field(default=(), validation_alias="ssl.quorum.ciphersuites")

    admin_enabled: Boolean = Field(default=False, validation_alias="admin.enableServer")
    admin_address: str = Field(default="127.0.0.1", validation_alias="admin.serverAddress")
    admin_port: Port = Field(default=8080, validation_alias="admin.serverPort")
    admin_command_url: str = Field(default="/commands", validation_alias="admin.commandURL")
    admin_hosts: Words = Field(default=(), validation_alias="admin.hosts")
    metrics_provider: str = Field(default="", validation_alias="metricsProvider.className")
    metrics_address: str = Field(default="127.0.0.1", validation_alias="metricsProvider.httpHost")
    metrics_port: Port | None = Field(default=None, validation_alias="metricsProvider.httpPort")
    client_port_unification: Boolean = Field(default=False, validation_alias="client.portUnification")
    ssl_key_store: Path | None = Field(default=None, validation_alias="ssl.keyStore.location")
    ssl_key_store_password: str | None = Field(default=None, validation_alias="ssl.keyStore.password", repr=False)
    ssl_key_store_password_file: Path | None = Field(default=None, validation_alias="ssl.keyStore.passwordPath")
    ssl_key_store_type: Pem = Field(default="PEM", validation_alias="ssl.keyStore.type")
    ssl_trust_store: Path | None = Field(default=None, validation_alias="ssl.trustStore.location")
    ssl_trust_store_type: Pem = Field(default="PEM", validation_alias="ssl.trustStore.type")
    ssl_client_auth: ClientAuth = Field(default="need", validation_alias="ssl.clientAuth")
    ssl_protocol: Protocol = Field(default=(), validation_alias="ssl.protocol")
    ssl_enabled_protocols: Words = Field(default=(), validation_alias="ssl.enabledProtocols")
    ssl_ciphers: Words = Field(default=(), validation_alias="ssl.ciphersuites")
    skip_acl: YesNo = Field(default=False, validation_alias="skipACL")

    source_text: str | None = Field(default=None, repr=False)  # the zoo.cfg this was read from

    @property
    def members_have_certificates(self) -> bool:
        """Whether each connection between servers is encrypted, and from a server with a certificate."""
        return self.ssl_quorum and not self.port_unification and self.ssl_quorum_client_auth == "need"

    @property
    def certificates_name_servers(self) -> bool:
        """Whether a server that connects must show a certificate for its own host. As at Apache's both keys count."""
        return self.ssl_quorum_hostname_verification and self.ssl_quorum_client_hostname_verification

    @property
    def session_timeouts_ms(self) -> tuple[int, int]:
        """The shortest and the longest session a client can have: 2 and 20 ticks unless set."""
        low = 2 * self.tick_time_ms if self.min_session_timeout_ms == -1 else self.min_session_timeout_ms
        high = 20 * self.tick_time_ms if self.max_session_timeout_ms == -1 else self.max_session_timeout_ms
        return low, high


_KEY_STORES = [f"ssl.{of}{store}.location" for of in ("", "quorum.") for store in ("keyStore", "trustStore")]
_OTHER_STORES = (".jks", ".p12", ".bcfks")  # by these ends Apache knows a store whose type is not stated
_EXPECTED = {
    "int_parsing": "a whole number",
    "greater_than": "a number greater than {gt}",
    "less_than_equal": "at most {le}",
    "greater_than_equal": "at least {ge}",
    "literal_error": "{expected}",
}
_REASONS = {
    "not a whole number": "a whole number", "not a boolean": "true or false", "not yes or no": "yes or no",
    "no path": "a path", "not 3": "3: fast leader election is the only one",
    "not PEM": "PEM: other key stores are not supported",
    "simulated only": f"{' or '.join(NAMES)}: {' and '.join(SIMULATED)} run in the simulator only, docs/multi-paxos.md",
}  # fmt: skip


def parse_zoo_cfg(text: str, source: str, data_dir: Path | None = None) -> tuple[ServerConfig, list[str]]:
    """The settings in a zoo.cfg, and a warning for each that has no effect.

    source: the file's name, for messages. data_dir: in place of the file's dataDir. For an ensemble the file named by
    dynamicConfigFile and `myid` in the data directory are read too. Raises ConfigError with file, line, key, value and
    what was expected.
    """
    keys = {str(field.validation_alias) for field in ServerConfig.model_fields.values() if field.validation_alias}
    properties = read_properties(text, source)
    unknown = [entry for entry in properties if not _is_known(entry.key, keys)]
    try:
        config, warnings = _parse(properties, keys, text, source, data_dir)
    except ConfigError as error:
        if not unknown:
            raise
        # An unknown key is often the missing one, misspelt.
        slips = [f"line {entry.line}: {_not_known(entry.key, keys)}" for entry in unknown]
        expected = "; ".join([error.expected, *slips])
        raise ConfigError(error.key, error.value, expected, source=error.source, line=error.line) from None
    useless = [f"{source}:{entry.line}: {_not_known(entry.key, keys)}; it has no effect" for entry in unknown]
    return config, useless + warnings


def _is_known(key: str, keys: set[str]) -> bool:
    return key in keys or is_without_effect(key) or key.startswith(KEYS)


def _not_known(key: str, keys: set[str]) -> str:
    from difflib import get_close_matches  # only here: it takes time to import

    bare = key.removeprefix("zookeeper.")
    if bare != key and _is_known(bare, keys):
        return f"{key} is not a known key: in a file it is {bare}"
    similar = get_close_matches(key, sorted({*keys, *REFUSED, *NO_EFFECT}), 1, 0.8)
    return f"{key} is not a known key{f', did you mean {similar[0]}?' if similar else ''}"


def _parse(
    properties: list[Property], keys: set[str], text: str, source: str, data_dir: Path | None
) -> tuple[ServerConfig, list[str]]:
    values: dict[str, Any] = {}
    places: dict[str, Property] = {}
    warnings: list[str] = []
    for entry in properties:
        if entry.key in keys:
            value, said = correct(entry.key, entry.value)
            if said:
                warnings.append(f"{source}:{entry.line}: {entry.key}={entry.value}: {said}")
            places[entry.key] = entry
            values.pop(entry.key, None)
            if value is not None:
                values[entry.key] = value
        elif expected := refusal(entry.key, entry.value):
            raise entry.wrong(expected)
        elif why := NO_EFFECT.get(entry.key):
            warnings.append(f"{source}:{entry.line}: {entry.key} has no effect: {why}")

    if data_dir is not None:
        values["dataDir"] = str(data_dir)
        places["dataDir"] = Property("--data-dir", 1, "dataDir", str(data_dir))

    def missing(key: str, expected: str) -> ConfigError:
        return ConfigError(key, None, expected, source=source)

    if "dataDir" not in values:
        raise missing("dataDir", "a directory")
    # With a file, Apache's defaults hold, except that the admin server stays on loopback: it authenticates nobody.
    by_file = {"clientPort": None, "clientPortAddress": "0.0.0.0", "secureClientPortAddress": "0.0.0.0"}
    by_file["metricsProvider.httpHost"] = "0.0.0.0"
    provider = values.get("metricsProvider.className", "").rpartition(".")[2]
    if provider == "PrometheusMetricsProvider":
        by_file["metricsProvider.httpPort"] = "7000"
    elif provider not in ("", "DefaultMetricsProvider", "NullMetricsProvider"):
        line = places["metricsProvider.className"].line
        warnings.append(f"{source}:{line}: metricsProvider.className has no effect: {provider} is not known here")
    config = _validated(by_file | {"admin.enableServer": True, "source_text": text} | values, places)

    for key, path in (("dataDir", config.data_dir), ("dataLogDir", config.data_log_dir)):
        file = path and next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), None)
        if file:
            raise places[key].wrong(f"a directory: {file} is not a directory")
        if path and (left_aside := _java_path(places[key], text)):
            raise places[key].wrong(rf"\uXXXX for other than ASCII: Java reads {left_aside}, where data is")
    membership = read_membership(properties)
    place = find_place(membership, config.standalone_enabled, config.data_dir, places.get("myid"), source)
    if "clientPortAddress" in values and "clientPort" not in values:
        raise missing("clientPort", "a port, since clientPortAddress is set")
    if not place.client and "clientPort" not in values and "secureClientPort" not in values:
        raise missing("clientPort", "a port: neither it nor secureClientPort is set")
    config = config.model_copy(update=_settled(config, place, places))
    if config.skip_acl:
        warnings.append(f"{source}:{places['skipACL'].line}: skipACL=yes: any client may do anything to any znode")
    if place.membership is not None:
        for key in ("initLimit", "syncLimit"):
            if key not in values:
                raise missing(key, "a number of ticks: an ensemble needs it")
        if config.replication not in COUNTING_GROUPS and place.membership.has_groups:
            raise places["protocol"].wrong(
                f"{' or '.join(COUNTING_GROUPS)}, since group.N and weight.N are set: "
                f"{config.replication} counts a majority of voters"
            )
        if config.extended_types and config.server_id == MAX_SID:
            raise places["extendedTypesEnabled"].wrong(f"false on server {MAX_SID}: its sessions look like a TTL")
        if "peerType" in values and config.peer_type != values["peerType"].lower():
            line, role = places["peerType"].line, config.peer_type
            warnings.append(f"{source}:{line}: peerType has no effect: server.{place.server_id} says {role}")

    elif "protocol" in places:
        warnings.append(f"{source}:{places['protocol'].line}: protocol has no effect: there are no other servers")

    if config.secure_client_port is None:
        if "secureClientPortAddress" in values:
            raise missing("secureClientPort", "a port, since secureClientPortAddress is set")
    else:
        if values.get("clientPort") == "0":  # no plain port, as at Apache's; alone it is any free port
            config = config.model_copy(update={"client_port": None})
        for key in ("ssl.keyStore.location", "ssl.trustStore.location"):
            if key not in values and not (key.startswith("ssl.trust") and config.ssl_client_auth == "none"):
                raise missing(key, "a PEM file, since secureClientPort is set")
    if config.session_secret == "own":
        if config.session_secret_file is not None:
            raise places["sessionSecret"].wrong("zookeeper, since sessionSecretFile is set")
        if place.membership is not None and not config.members_have_certificates:
            raise places["sessionSecret"].wrong(SECRET_NEEDS)
        if place.membership is not None and config.replication not in SHARING_SECRETS:
            raise places["sessionSecret"].wrong(
                f"sessionSecretFile in place of it, since only {' and '.join(SHARING_SECRETS)} shares a secret"
            )
    if config.ssl_quorum or config.port_unification:
        for key in ("ssl.quorum.keyStore.location", "ssl.quorum.trustStore.location"):
            if key not in values:
                raise missing(
                    key, f"a PEM file, since {'sslQuorum' if config.ssl_quorum else 'portUnification'} is set"
                )
    for key in _KEY_STORES:
        if key in values and values[key].lower().endswith(_OTHER_STORES):
            raise places[key].wrong("a PEM file: other key stores are not supported")
    if config.client_port_unification and "ssl.keyStore.location" not in values:
        config = config.model_copy(update={"client_port_unification": False})
        line = places["client.portUnification"].line
        warnings.append(f"{source}:{line}: client.portUnification has no effect: there is no ssl.keyStore.location")
    low, high = config.session_timeouts_ms
    if low > high:
        expected = f"at most maxSessionTimeout, {high}"
        at = places.get("minSessionTimeout")
        raise at.wrong(expected) if at else ConfigError("minSessionTimeout", low, expected, source=source)
    return config, warnings


def _java_path(stated: Property, text: str) -> Path | None:
    """The path as Java reads it, in ISO 8859-1, if there are data at that path and none at the path in UTF-8."""
    if stated.value.isascii() or (Path(stated.value) / "version-2").exists():
        return None
    read = {entry.key: entry.value for entry in read_properties(text.encode().decode("latin-1"), stated.source)}
    path = Path(read.get(stated.key, stated.value))
    return path if (path / "version-2").exists() else None


def _settled(config: ServerConfig, place: Place, places: dict[str, Property]) -> dict[str, Any]:
    """The settings that the list of servers has for this one. Raises ConfigError where other keys contradict them."""
    settled: dict[str, Any] = {"membership": place.membership, "server_id": place.server_id}
    if place.membership is not None:
        settled["peer_type"] = "observer" if place.server_id in place.membership.observers else "participant"
    if place.client:
        host, _, port = place.client.rpartition(":")
        host = host.strip("[]")
        if "clientPort" in places and int(port) != config.client_port:
            raise places["clientPort"].wrong(f"{port}, which server.{place.server_id} says")
        if "clientPortAddress" in places and config.client_address not in ("0.0.0.0", host):
            raise places["clientPortAddress"].wrong(f"{host}, which server.{place.server_id} says")
        settled |= {"client_port": int(port), "client_address": host}
    return settled


def _validated(values: dict[str, Any], places: dict[str, Property]) -> ServerConfig:
    try:
        return ServerConfig.model_validate(values)
    except ValidationError as error:
        found = error.errors()[0]
        context = found.get("ctx", {})
        expected = _EXPECTED.get(found["type"])
        reason = str(context.get("error", ""))
        said = expected.format(**context) if expected else _REASONS.get(reason, found["msg"])
        raise places[str(found["loc"][0])].wrong(said) from None
