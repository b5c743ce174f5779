"""A server's settings: zoo.cfg in, one frozen object out.

The syntax is that of Java's properties, the keys are ZooKeeper's. Source: QuorumPeerConfig.java, java.util.Properties.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipes.core.errors import ConfigError

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


class ServerConfig(BaseModel):
    """What one server is told. The defaults are those of a server without a file: loopback only.

    client_port, secure_client_port, admin_port, metrics_port: 0 takes a free port, None has none.
    min_session_timeout_ms, max_session_timeout_ms: None is 2 and 20 ticks.
    max_client_cnxns_per_ip, max_cnxns: 0 is no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tick_time_ms: Positive = 3000
    data_dir: Path = Path("recipes-data")
    data_log_dir: Path | None = None
    client_address: str = "127.0.0.1"
    client_port: Port | None = 2181
    secure_client_address: str = "127.0.0.1"
    secure_client_port: Port | None = None
    listen_backlog: Annotated[int, Field(ge=-1)] = -1
    max_client_cnxns_per_ip: NotNegative = 60
    max_cnxns: NotNegative = 0
    sessionless_timeout_ms: Positive = 10_000
    min_session_timeout_ms: Annotated[int, Field(ge=-1)] | None = None
    max_session_timeout_ms: Annotated[int, Field(ge=-1)] | None = None
    snap_count: Annotated[int, Field(ge=2)] = 100_000
    snap_size_limit_kb: int = 4_194_304
    pre_alloc_size_kb: Positive = 65536
    force_sync: bool = True
    purge_retain_count: Annotated[int, Field(ge=3)] = 3
    purge_interval_hours: NotNegative = 0
    four_letter_whitelist: tuple[str, ...] = ("srvr",)
    admin_enabled: bool = False
    admin_address: str = "127.0.0.1"
    admin_port: Port = 8080
    admin_command_url: str = "/commands"
    metrics_address: str = "127.0.0.1"
    metrics_port: Port | None = None
    extended_types_enabled: bool = False
    enforce_quota: bool = False
    super_digest: str | None = None
    session_secret_file: Path | None = None
    jute_max_buffer_bytes: Positive = 0xFFFFF
    container_check_interval_ms: Positive = 60_000
    container_max_per_minute: Positive = 10_000
    ssl_key_store: Path | None = None
    ssl_key_store_password: str | None = None
    ssl_trust_store: Path | None = None
    ssl_client_auth: Literal["need", "want", "none"] = "need"
    ssl_enabled_protocols: tuple[str, ...] = ()
    ssl_ciphers: tuple[str, ...] = ()
    source_text: str | None = None

    @property
    def least_session_timeout_ms(self) -> int:
        """The shortest session a client can get."""
        asked = self.min_session_timeout_ms
        return self.tick_time_ms * 2 if asked is None or asked < 0 else asked

    @property
    def most_session_timeout_ms(self) -> int:
        """The longest session a client can get."""
        asked = self.max_session_timeout_ms
        return self.tick_time_ms * 20 if asked is None or asked < 0 else asked

    @property
    def log_dir(self) -> Path:
        """Where the transaction log goes."""
        return self.data_log_dir or self.data_dir


class _Key(NamedTuple):
    field: str
    convert: Callable[[str], object]
    expected: str


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _yes_no(text: str) -> bool:
    return {"yes": True, "no": False, "true": True, "false": False}[text.lower()]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _pem(text: str) -> str:
    if text.upper() != "PEM":
        raise ValueError(text)
    return text


def _no(text: str) -> bool:
    if _yes_no(text):
        raise ValueError(text)
    return False


def _url(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(text)
    return text.rstrip("/")


_PORT = "a port number between 0 and 65535"
_MS = "a number of milliseconds above 0"
_COUNT = "a whole number, 0 or more"
_BOOLEAN = "true or false"

_KEYS = {
    "tickTime": _Key("tick_time_ms", int, _MS),
    "dataDir": _Key("data_dir", Path, "a directory"),
    "dataLogDir": _Key("data_log_dir", Path, "a directory"),
    "clientPort": _Key("client_port", int, _PORT),
    "clientPortAddress": _Key("client_address", str, "an address of this machine"),
    "secureClientPort": _Key("secure_client_port", int, _PORT),
    "secureClientPortAddress": _Key("secure_client_address", str, "an address of this machine"),
    "clientPortListenBacklog": _Key("listen_backlog", int, "a whole number, -1 or more"),
    "maxClientCnxns": _Key("max_client_cnxns_per_ip", int, _COUNT),
    "maxCnxns": _Key("max_cnxns", int, _COUNT),
    "nio.sessionlessCnxnTimeout": _Key("sessionless_timeout_ms", int, _MS),
    "minSessionTimeout": _Key("min_session_timeout_ms", int, "a number of milliseconds, or -1 for 2 ticks"),
    "maxSessionTimeout": _Key("max_session_timeout_ms", int, "a number of milliseconds, or -1 for 20 ticks"),
    "snapCount": _Key("snap_count", int, "a number of transactions, 2 or more"),
    "snapSizeLimitInKb": _Key("snap_size_limit_kb", int, "a number of kilobytes; 0 or less is no limit"),
    "preAllocSize": _Key("pre_alloc_size_kb", int, "a number of kilobytes above 0"),
    "forceSync": _Key("force_sync", _yes_no, "yes or no"),
    "autopurge.snapRetainCount": _Key("purge_retain_count", int, "a number of snapshots, 3 or more"),
    "autopurge.purgeInterval": _Key("purge_interval_hours", int, "a number of hours; 0 is never"),
    "4lw.commands.whitelist": _Key("four_letter_whitelist", _words, "a list of words with commas, or *"),
    "admin.enableServer": _Key("admin_enabled", _boolean, _BOOLEAN),
    "admin.serverAddress": _Key("admin_address", str, "an address of this machine"),
    "admin.serverPort": _Key("admin_port", int, _PORT),
    "admin.commandURL": _Key("admin_command_url", _url, "a path that begins with /"),
    "metricsProvider.httpHost": _Key("metrics_address", str, "an address of this machine"),
    "metricsProvider.httpPort": _Key("metrics_port", int, _PORT),
    "extendedTypesEnabled": _Key("extended_types_enabled", _boolean, _BOOLEAN),
    "enforceQuota": _Key("enforce_quota", _boolean, _BOOLEAN),
    "DigestAuthenticationProvider.superDigest": _Key("super_digest", str, "user:digest"),
    "sessionSecretFile": _Key("session_secret_file", Path, "a file"),
    "jute.maxbuffer": _Key("jute_max_buffer_bytes", lambda text: int(text, 0), "a number of bytes above 0"),
    "znode.container.checkIntervalMs": _Key("container_check_interval_ms", int, _MS),
    "znode.container.maxPerMinute": _Key("container_max_per_minute", int, "a whole number above 0"),
    "ssl.keyStore.location": _Key("ssl_key_store", Path, "a PEM file with private key and certificates"),
    "ssl.keyStore.password": _Key("ssl_key_store_password", str, "a password"),
    "ssl.keyStore.type": _Key("", _pem, "PEM (other key stores are not supported)"),
    "ssl.trustStore.location": _Key("ssl_trust_store", Path, "a PEM file with certificates of authorities"),
    "ssl.trustStore.type": _Key("", _pem, "PEM (other key stores are not supported)"),
    "ssl.clientAuth": _Key("ssl_client_auth", str.lower, "need, want or none"),
    "ssl.enabledProtocols": _Key("ssl_enabled_protocols", _words, "a list of TLSv1.2 and TLSv1.3"),
    "ssl.ciphersuites": _Key("ssl_ciphers", _words, "a list of cipher suites"),
    "skipACL": _Key("", _no, "no (ACLs cannot be switched off)"),
    "standaloneEnabled": _Key("", _boolean, _BOOLEAN),
}  # fmt: skip

# Keys of ZooKeeper that change nothing on a server alone, or choose what this server has anyway.
_WITHOUT_EFFECT = frozenset(
    (
        "initLimit", "syncLimit", "connectToLearnerMasterLimit", "electionAlg", "reconfigEnabled", "peerType",
        "quorumListenOnAllIPs", "syncEnabled", "leaderServes", "cnxTimeout", "serverCnxnFactory", "digest.enabled",
        "closeSessionTxn.enabled", "metricsProvider.className", "metricsProvider.exportJvmInfo", "admin.idleTimeout",
        "ssl.trustStore.password", "maxResponseCacheSize", "maxGetChildrenResponseCacheSize", "watchManagerName",
        "admin.rateLimiterIntervalInMS",
    )
)  # fmt: skip


def read_properties(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, key and value of every property, as java.util.Properties reads them."""
    begun, gathered = 0, ""
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        line = raw.lstrip(" \t\f")
        if not gathered:
            if not line or line[0] in "#!":
                continue
            begun = number
        slashes = len(line) - len(line.rstrip("\\"))
        if slashes % 2 and number <= text.count("\n") + 1:
            gathered += line[:-1]
            continue
        key, value = _split_property(gathered + line)
        gathered = ""
        yield begun, key, value.strip()
    if gathered:
        key, value = _split_property(gathered)
        yield begun, key, value.strip()


def _split_property(line: str) -> tuple[str, str]:
    at = 0
    while at < len(line) and line[at] not in "=: \t\f":
        at += 2 if line[at] == "\\" else 1
    key, rest = line[:at], line[at:].lstrip(" \t\f")
    if rest[:1] in ("=", ":"):
        rest = rest[1:]
    return _unescape(key), _unescape(rest.lstrip(" \t\f"))


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    out, at = [], 0
    while at < len(text):
        if text[at] != "\\":
            out.append(text[at])
            at += 1
            continue
        mark = text[at + 1 : at + 2]
        code = text[at + 2 : at + 6]
        if mark == "u" and len(code) == 4 and all(digit in "0123456789abcdefABCDEF" for digit in code):
            out.append(chr(int(code, 16)))
            at += 6
        else:
            out.append({"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(mark, mark))
            at += 2
    return "".join(out)


def parse_zoo_cfg(text: str, source: str) -> tuple[ServerConfig, list[str]]:
    """The settings of a zoo.cfg, and what is to be said about keys that are not known.

    source: the file's name, for messages. Raises ConfigError for the first value that is not valid.
    """
    # With a file the addresses are Apache's; the admin server, which asks nobody who they are, stays on loopback.
    values: dict[str, object] = {
        "client_address": "0.0.0.0",
        "secure_client_address": "0.0.0.0",
        "client_port": None,
        "admin_enabled": True,
        "source_text": text,
    }
    stated: dict[str, tuple[str, str, int]] = {}  # field or key -> key, value, line
    servers: list[tuple[str, str, int]] = []
    warnings: list[str] = []
    for line, key, value in read_properties(text):
        if key.startswith(("server.", "group.", "weight.")) or key == "dynamicConfigFile":
            servers.append((key, value, line))
            continue
        known = _KEYS.get(key)
        if known is None:
            if key not in _WITHOUT_EFFECT:
                warnings.append(f"{source}:{line}: unknown key {key}, ignored")
            continue
        try:
            converted = known.convert(value)
        except (ValueError, KeyError):
            raise ConfigError(key, value, known.expected, source=source, line=line) from None
        stated[known.field or key] = (key, value, line)
        if known.field:
            values[known.field] = converted
    _refuse_replicated(servers, stated, source)
    if "data_dir" not in stated:
        raise ConfigError("dataDir", "", "a directory (it is not set)", source=source)
    try:
        config = ServerConfig.model_validate(values)
    except ValidationError as wrong:
        field = str(wrong.errors()[0]["loc"][0])
        key, value, line = stated[field]
        raise ConfigError(key, value, _KEYS[key].expected, source=source, line=line) from None
    _check_together(config, stated, source)
    return config, warnings


def load_zoo_cfg(path: Path) -> tuple[ServerConfig, list[str]]:
    """Read and parse a zoo.cfg. Raises ConfigError, also when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError("zoo.cfg", path, f"a file that can be read ({reason})") from None
    return parse_zoo_cfg(text, str(path))


def _refuse_replicated(
    servers: list[tuple[str, str, int]], stated: dict[str, tuple[str, str, int]], source: str
) -> None:
    alone = stated.get("standaloneEnabled", ("", "true", 0))[1].lower() == "true"
    lines = [stating for stating in servers if stating[0].startswith("server.")]
    others = [stating for stating in servers if not stating[0].startswith("server.")]
    refused = others or (lines if len(lines) > 1 or not alone else [])
    if refused:
        key, value, line = refused[-1]
        raise ConfigError(key, value, "a server alone; replicated mode is not supported yet", source=source, line=line)


def _check_together(config: ServerConfig, stated: dict[str, tuple[str, str, int]], source: str) -> None:
    """What is wrong only in view of another setting."""

    def refuse(field: str, expected: str) -> None:
        key, value, line = stated[field]
        raise ConfigError(key, value, expected, source=source, line=line)

    least, most = config.least_session_timeout_ms, config.most_session_timeout_ms
    if least > most:
        field = "min_session_timeout_ms" if "min_session_timeout_ms" in stated else "max_session_timeout_ms"
        refuse(field, f"minSessionTimeout ({least}) not above maxSessionTimeout ({most})")
    if "client_address" in stated and config.client_port is None:
        refuse("client_address", "clientPort to be set with it")
    if "secure_client_address" in stated and config.secure_client_port is None:
        refuse("secure_client_address", "secureClientPort to be set with it")
    if config.client_port is None and config.secure_client_port is None:
        raise ConfigError("clientPort", "", "a port number (neither it nor secureClientPort is set)", source=source)
    if config.secure_client_port is not None and config.ssl_key_store is None:
        refuse("secure_client_port", "ssl.keyStore.location to be set with it")
    if config.ssl_key_store is not None and config.ssl_client_auth != "none" and config.ssl_trust_store is None:
        refuse("ssl_key_store", "ssl.trustStore.location to be set with it, or ssl.clientAuth=none")
