"""Which server a connection may be from, by its certificate: that must name the host in the server's line of zoo.cfg.

Whoever dials another server has the same checked by OpenSSL. Whoever accepts a connection hears only later which server
it is from. The rules are OpenSSL's (X509_check_host, X509_check_ip): names are compared without regard to case, a `*`
stands for one whole label at the beginning, and the subject's common name counts where no host name is listed.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

_KEY = "ssl.quorum.clientHostnameVerification"


def why_not(hosts: Mapping[int, Sequence[str]], certificate: Mapping[str, Any], sid: int) -> str:
    """Why a certificate is not server `sid`'s; empty if it is. hosts: of each server. certificate: as `ssl` has it."""
    expected = hosts.get(sid, ())
    if any(names(certificate, host) for host in expected):
        return ""
    shown = ", ".join(_listed(certificate)) or "nobody"
    wanted = f"expected one for {' or '.join(expected)}, the host in the line server.{sid} (or {_KEY}=false)"
    return f"it says that it is server {sid}, and its certificate is for {shown}: {wanted}"


def names(certificate: Mapping[str, Any], host: str) -> bool:
    """Whether a certificate is for this host, a name or an address."""
    listed = certificate.get("subjectAltName", ())
    try:
        address = ip_address(host)
    except ValueError:
        patterns = [value for kind, value in listed if kind == "DNS"] or _common_names(certificate)
        return any(_is_name(pattern.lower(), host.lower().removesuffix(".")) for pattern in patterns)
    return any(kind == "IP Address" and _is_address(value, address) for kind, value in listed)


def _is_address(value: str, address: object) -> bool:
    try:
        return ip_address(value.strip()) == address
    except ValueError:
        return False


def _is_name(pattern: str, host: str) -> bool:
    star, _, rest = pattern.partition(".")
    if star != "*":
        return pattern == host
    return "." in rest and host.partition(".")[2] == rest and not host.startswith(".")


def _common_names(certificate: Mapping[str, Any]) -> list[str]:
    return [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]


def _listed(certificate: Mapping[str, Any]) -> list[str]:
    listed = [value.strip() for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    return listed or _common_names(certificate)
