"""TLS on the client port: a context from the ssl.* keys, and who a client's certificate says it is."""

import ssl
from pathlib import Path
from typing import Any

from recipes.core.config import ServerConfig
from recipes.core.errors import ConfigError
from recipes.core.tree.acl import Ids

_VERIFY = {"need": ssl.CERT_REQUIRED, "want": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
# What RFC 2253 abbreviates; other attributes are written as their number and the encoded value.
_SHORT = {
    "commonName": "CN", "countryName": "C", "organizationName": "O", "organizationalUnitName": "OU",
    "localityName": "L", "stateOrProvinceName": "ST", "streetAddress": "STREET", "domainComponent": "DC",
    "userId": "UID",
}  # fmt: skip
_EMAIL = "1.2.840.113549.1.9.1"
_SPECIAL = ',+"\\<>;='


def server_context(config: ServerConfig) -> ssl.SSLContext:
    """The context of the secure client port. Raises ConfigError for files that do not serve."""
    key_store = config.ssl_key_store
    if key_store is None:
        raise ConfigError("ssl.keyStore.location", "", "a PEM file, since secureClientPort is set")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = [_version(name) for name in config.ssl_enabled_protocols] or list(_VERSIONS.values())
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    try:
        context.load_cert_chain(key_store, password=config.ssl_key_store_password or "")
    except (OSError, ssl.SSLError) as error:
        raise _unusable("ssl.keyStore.location", key_store, error, "private key and certificates") from None
    trust_store = config.ssl_trust_store
    if trust_store is not None:
        try:
            context.load_verify_locations(trust_store)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("ssl.trustStore.location", trust_store, error, "certificates of authorities") from None
    elif config.ssl_client_auth != "none":
        raise ConfigError("ssl.trustStore.location", "", "a PEM file, or ssl.clientAuth=none")
    context.verify_mode = _VERIFY[config.ssl_client_auth]
    if config.ssl_ciphers:
        try:
            context.set_ciphers(":".join(config.ssl_ciphers))
        except ssl.SSLError:
            raise ConfigError(
                "ssl.ciphersuites", ",".join(config.ssl_ciphers), "cipher suites by OpenSSL's names"
            ) from None
    return context


def certificate_ids(certificate: dict[str, Any] | None) -> Ids:
    """The identity a client has by its certificate: scheme x509, the subject's name as RFC 2253 writes it."""
    if not certificate or not certificate.get("subject"):
        return ()
    return ((b"x509", rfc2253(certificate["subject"]).encode()),)


def rfc2253(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """A subject as the ssl module gives it, last part first."""
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


def _version(name: str) -> ssl.TLSVersion:
    try:
        return _VERSIONS[name]
    except KeyError:
        raise ConfigError("ssl.enabledProtocols", name, "a list of TLSv1.2 and TLSv1.3") from None


def _unusable(key: str, path: Path, error: OSError, what: str) -> ConfigError:
    reason = error.strerror if error.strerror and not isinstance(error, ssl.SSLError) else "it is not such a file"
    return ConfigError(key, path, f"a PEM file with {what} ({reason})")
