"""A server's settings: ZooKeeper's zoo.cfg keys, checked where they enter.

Source: QuorumPeerConfig.java; the file is a Java properties file.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from recipes.core.errors import ConfigError


def _boolean(value: Any) -> Any:
    if isinstance(value, str):
        lowered = value.lower()
        if lowered not in ("true", "false"):
            raise ValueError("not a boolean")
        return lowered == "true"
    return value


def _yes_no(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("yes", "no"):
            raise ValueError("not yes or no")
        return value == "yes"
    return value


def _no(value: Any) -> Any:
    if value not in ("no", False):
        raise ValueError("not no")
    return False


def _pem(value: Any) -> Any:
    if str(value).upper() != "PEM":
        raise ValueError("not PEM")
    return "PEM"


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


Boolean = Annotated[bool, BeforeValidator(_boolean)]
YesNo = Annotated[bool, BeforeValidator(_yes_no)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Pem = Annotated[str, BeforeValidator(_pem)]
ClientAuth = Annotated[Literal["need", "want", "none"], BeforeValidator(_lower)]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]


class ServerConfig(BaseModel):
    """How one server runs. Names as in the code; each field's alias is its key in zoo.cfg. Times in ms."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    data_dir: Path = Field(validation_alias="dataDir")
    data_log_dir: Path | None = Field(None, validation_alias="dataLogDir")
    client_port: Port | None = Field(2181, validation_alias="clientPort")
    client_address: str = Field("127.0.0.1", validation_alias="clientPortAddress")
    secure_client_port: Port | None = Field(None, validation_alias="secureClientPort")
    secure_client_address: str = Field("127.0.0.1", validation_alias="secureClientPortAddress")
    sessionless_timeout_ms: Positive = Field(10000, validation_alias="nio.sessionlessCnxnTimeout")
    tick_time_ms: Positive = Field(3000, validation_alias="tickTime")
    min_session_timeout_ms: int = Field(-1, validation_alias="minSessionTimeout")
    max_session_timeout_ms: int = Field(-1, validation_alias="maxSessionTimeout")
    max_connections_per_ip: Annotated[int, Field(ge=0)] = Field(60, validation_alias="maxClientCnxns")
    max_connections: Annotated[int, Field(ge=0)] = Field(0, validation_alias="maxCnxns")
    snap_count: Annotated[int, Field(ge=2)] = Field(100000, validation_alias="snapCount")
    pre_alloc_size_kb: Positive = Field(65536, validation_alias="preAllocSize")
    force_sync: YesNo = Field(True, validation_alias="forceSync")
    snap_retain_count: Annotated[int, Field(ge=3)] = Field(3, validation_alias="autopurge.snapRetainCount")
    purge_interval_hours: Annotated[int, Field(ge=0)] = Field(0, validation_alias="autopurge.purgeInterval")
    four_letter_whitelist: Words = Field(("srvr",), validation_alias="4lw.commands.whitelist")
    extended_types: Boolean = Field(False, validation_alias="extendedTypesEnabled")
    enforce_quota: Boolean = Field(False, validation_alias="enforceQuota")
    super_digest: str | None = Field(None, validation_alias="DigestAuthenticationProvider.superDigest")
    session_secret_file: Path | None = Field(None, validation_alias="sessionSecretFile")
    max_frame_bytes: Annotated[int, Field(ge=1024)] = Field(0xFFFFF, validation_alias="jute.maxbuffer")
    container_check_ms: Positive = Field(60000, validation_alias="znode.container.checkIntervalMs")
    container_max_per_check: Positive = Field(10000, validation_alias="znode.container.maxPerMinute")

    admin_enabled: Boolean = Field(False, validation_alias="admin.enableServer")
    admin_address: str = Field("127.0.0.1", validation_alias="admin.serverAddress")
    admin_port: Port = Field(8080, validation_alias="admin.serverPort")
    admin_command_url: str = Field("/commands", validation_alias="admin.commandURL")
    metrics_address: str = Field("127.0.0.1", validation_alias="metricsProvider.httpHost")
    metrics_port: Port | None = Field(None, validation_alias="metricsProvider.httpPort")
    ssl_key_store: Path | None = Field(None, validation_alias="ssl.keyStore.location")
    ssl_key_store_password: str | None = Field(None, validation_alias="ssl.keyStore.password")
    ssl_key_store_type: Pem = Field("PEM", validation_alias="ssl.keyStore.type")
    ssl_trust_store: Path | None = Field(None, validation_alias="ssl.trustStore.location")
    ssl_trust_store_type: Pem = Field("PEM", validation_alias="ssl.trustStore.type")
    ssl_client_auth: ClientAuth = Field("need", validation_alias="ssl.clientAuth")
    ssl_enabled_protocols: Words = Field((), validation_alias="ssl.enabledProtocols")
    ssl_ciphers: Words = Field((), validation_alias="ssl.ciphersuites")
    skip_acl: Annotated[bool, BeforeValidator(_no)] = Field(False, validation_alias="skipACL")

    source_text: str | None = None  # the zoo.cfg this was read from

    @property
    def session_timeouts_ms(self) -> tuple[int, int]:
        """The shortest and the longest session a client can have: 2 and 20 ticks unless set."""
        low = 2 * self.tick_time_ms if self.min_session_timeout_ms < 0 else self.min_session_timeout_ms
        high = 20 * self.tick_time_ms if self.max_session_timeout_ms < 0 else self.max_session_timeout_ms
        return low, high


# Keys of ZooKeeper's that mean nothing to a server alone, or choose what this server always does.
_IGNORED = frozenset(
    ("initLimit", "syncLimit", "standaloneEnabled", "electionAlg", "clientPortListenBacklog", "globalOutstandingLimit",
     "digest.enabled", "metricsProvider.className", "metricsProvider.exportJvmInfo", "admin.idleTimeout",
     "serverCnxnFactory", "ssl.trustStore.password", "snapSizeLimitInKb", "reconfigEnabled", "leaderServes")
)  # fmt: skip
_EXPECTED = {
    "int_parsing": "a whole number",
    "greater_than": "a number greater than {gt}",
    "less_than_equal": "at most {le}",
    "greater_than_equal": "at least {ge}",
    "literal_error": "{expected}",
}
_REASONS = {
    "not a boolean": "true or false", "not yes or no": "yes or no", "not no": "no: ACLs cannot be switched off",
    "not PEM": "PEM: other key stores are not supported",
}  # fmt: skip


def parse_zoo_cfg(text: str, source: str) -> tuple[ServerConfig, list[str]]:
    """The settings in a zoo.cfg, and a warning for each key that is not known.

    source: the file's name, for messages. Raises ConfigError with file, line, key, value and what was expected.
    """
    keys = {str(field.validation_alias) for field in ServerConfig.model_fields.values() if field.validation_alias}
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    warnings = []
    for number, key, value in _properties(text):
        if re.fullmatch(r"server\.\d+|group\.\d+|weight\.\d+", key):
            raise ConfigError(key, value, "no ensemble: this release serves alone", source=source, line=number)
        if key in keys:
            values[key], lines[key] = value, number
        elif key not in _IGNORED:
            warnings.append(f"{source}:{number}: {key} is not a known key and has no effect")
    if "dataDir" not in values:
        raise ConfigError("dataDir", "", "a directory: the key is missing", source=source)
    if "clientPortAddress" in values and "clientPort" not in values:
        raise ConfigError("clientPort", "", "a port, since clientPortAddress is set", source=source)
    if "clientPort" not in values and "secureClientPort" not in values:
        raise ConfigError("clientPort", "", "a port: neither it nor secureClientPort is set", source=source)
    if "secureClientPort" in values:
        for key in ("ssl.keyStore.location", "ssl.trustStore.location"):
            if key not in values and not (key.startswith("ssl.trust") and values.get("ssl.clientAuth") == "none"):
                raise ConfigError(key, "", "a PEM file, since secureClientPort is set", source=source)
    # With a file, Apache's defaults hold, save that the admin server stays on loopback: it asks nobody who they are.
    by_file = {"clientPort": None, "clientPortAddress": "0.0.0.0", "secureClientPortAddress": "0.0.0.0"}
    try:
        config = ServerConfig.model_validate(by_file | {"admin.enableServer": True, "source_text": text} | values)
    except ValidationError as error:
        found = error.errors()[0]
        key = str(found["loc"][0])
        context = found.get("ctx", {})
        expected = _EXPECTED.get(found["type"])
        reason = str(context.get("error", ""))
        said = expected.format(**context) if expected else _REASONS.get(reason, found["msg"])
        raise ConfigError(key, values[key], said, source=source, line=lines[key]) from None
    low, high = config.session_timeouts_ms
    if low > high:
        raise ConfigError(
            "minSessionTimeout",
            low,
            f"at most maxSessionTimeout, {high}",
            source=source,
            line=lines.get("minSessionTimeout"),
        )
    return config, warnings


def _properties(text: str) -> list[tuple[int, str, str]]:
    """Line number, key and value of every entry of a Java properties file."""
    found = []
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.lstrip()
        if not pending and (not line or line[0] in "#!"):
            continue
        start = start if pending else number
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        key, _, value = _split(pending)
        found.append((start, key, value.strip()))
        pending = ""
    return found


def _split(line: str) -> tuple[str, str, str]:
    match = re.match(r"([^=:\s]+)\s*[=:\s]\s*", line)
    return (match[1], "", line[match.end() :]) if match else (line.strip(), "", "")
