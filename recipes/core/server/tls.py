"""TLS on the ports: contexts from the ssl.* keys, and the identity in a client's certificate."""

import ssl
from pathlib import Path
from typing import Any, NamedTuple

from recipes.core.config import ServerConfig
from recipes.core.errors import ConfigError
from recipes.core.jute.records import Ids

_VERIFY = {"need": ssl.CERT_REQUIRED, "want": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
# RFC 2253's abbreviations. It has other attributes written as number and encoded value: here only emailAddress is.
_SHORT = {
    "commonName": "CN", "countryName": "C", "organizationName": "O", "organizationalUnitName": "OU",
    "localityName": "L", "stateOrProvinceName": "ST", "streetAddress": "STREET", "domainComponent": "DC",
    "userId": "UID",
}  # fmt: skip
_EMAIL = "1.2.840.113549.1.9.1"
_SPECIAL = ',+"\\<>;='


class _Keys(NamedTuple):
    """The ssl.* settings of one kind of port. prefix: of the keys' names."""

    prefix: str
    key_store: Path
    password: str | None
    trust_store: Path | None
    protocols: tuple[str, ...]
    ciphers: tuple[str, ...]


def server_context(config: ServerConfig) -> ssl.SSLContext:
    """The context of the secure client port. Raises ConfigError for unusable files."""
    key_store = config.ssl_key_store
    if key_store is None:
        raise ConfigError("ssl.keyStore.location", None, "a PEM file, since secureClientPort is set")
    if config.ssl_trust_store is None and config.ssl_client_auth != "none":
        raise ConfigError("ssl.trustStore.location", None, "a PEM file, or ssl.clientAuth=none")
    keys = _Keys(
        "ssl.",
        key_store,
        _password("ssl.", config.ssl_key_store_password, config.ssl_key_store_password_file),
        config.ssl_trust_store,
        config.ssl_enabled_protocols or config.ssl_protocol,
        config.ssl_ciphers,
    )
    context = _context(ssl.PROTOCOL_TLS_SERVER, keys)
    context.verify_mode = _VERIFY[config.ssl_client_auth]
    return context


def peer_contexts(config: ServerConfig) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of the ports between servers: for accepted connections, and for dialled ones.

    Each end shows a certificate. The server that dials checks that the other end's certificate names the dialled host,
    unless ssl.quorum.hostnameVerification=false. Raises ConfigError for unusable files.
    """
    key_store, trust_store = config.ssl_quorum_key_store, config.ssl_quorum_trust_store
    if key_store is None or trust_store is None:
        missing = "trustStore" if key_store is not None else "keyStore"
        raise ConfigError(f"ssl.quorum.{missing}.location", None, "a PEM file, since sslQuorum is set")
    keys = _Keys(
        "ssl.quorum.",
        key_store,
        _password("ssl.quorum.", config.ssl_quorum_key_store_password, config.ssl_quorum_key_store_password_file),
        trust_store,
        config.ssl_quorum_enabled_protocols or config.ssl_quorum_protocol,
        config.ssl_quorum_ciphers,
    )
    accepts = _context(ssl.PROTOCOL_TLS_SERVER, keys)
    accepts.verify_mode = _VERIFY[config.ssl_quorum_client_auth]
    dials = _context(ssl.PROTOCOL_TLS_CLIENT, keys)
    dials.check_hostname = config.ssl_quorum_hostname_verification
    return accepts, dials


def _password(prefix: str, stated: str | None, file: Path | None) -> str | None:
    """The key's password. A file comes before a stated one, as at Apache's."""
    if file is None:
        return stated
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{prefix}keyStore.passwordPath", file, f"a file that can be read ({why})") from None


def _context(protocol: int, keys: _Keys) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    versions = [_version(f"{keys.prefix}enabledProtocols", name) for name in keys.protocols] or list(_VERSIONS.values())
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    try:
        context.load_cert_chain(keys.key_store, password=keys.password or "")
    except (OSError, ssl.SSLError) as error:
        what = "private key and certificates"
        raise _unusable(f"{keys.prefix}keyStore.location", keys.key_store, error, what) from None
    if keys.trust_store is not None:
        try:
            context.load_verify_locations(keys.trust_store)
        except (OSError, ssl.SSLError) as error:
            what = "certificates of authorities"
            raise _unusable(f"{keys.prefix}trustStore.location", keys.trust_store, error, what) from None
    if keys.ciphers:
        try:
            context.set_ciphers(":".join(keys.ciphers))
        except ssl.SSLError:
            asked = ",".join(keys.ciphers)
            raise ConfigError(f"{keys.prefix}ciphersuites", asked, "cipher suites by OpenSSL's names") from None
    return context


def certificate_ids(certificate: dict[str, Any] | None) -> Ids:
    """A client's identity from its certificate: scheme x509, and the subject's name in RFC 2253 form."""
    if not certificate or not certificate.get("subject"):
        return ()
    return ((b"x509", rfc2253(certificate["subject"]).encode()),)


def rfc2253(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """The RFC 2253 form of a subject, last part first. subject: as the ssl module gives it."""
    return ",".join("+".join(_attribute(name, value) for name, value in part) for part in reversed(subject))


def _attribute(name: str, value: str) -> str:
    if name == "emailAddress":
        text = value.encode("ascii", "replace")
        return f"{_EMAIL}=#16{len(text):02x}{text.hex()}"
    escaped = "".join(f"\\{mark}" if mark in _SPECIAL else mark for mark in value)
    if escaped[:1] in (" ", "#"):
        escaped = f"\\{escaped}"
    if len(escaped) > 1 and escaped.endswith(" "):
        escaped = f"{escaped[:-1]}\\ "
    return f"{_SHORT.get(name, name)}={escaped}"


def _version(key: str, name: str) -> ssl.TLSVersion:
    try:
        return _VERSIONS[name]
    except KeyError:
        raise ConfigError(key, name, "a list of TLSv1.2 and TLSv1.3") from None


def _unusable(key: str, path: Path, error: OSError, what: str) -> ConfigError:
    reason = error.strerror if error.strerror and not isinstance(error, ssl.SSLError) else "it is not such a file"
    return ConfigError(key, path, f"a PEM file with {what} ({reason})")
