"""A pytest plugin for kazoo's own tests: their managed cluster becomes an EnsembleProcesses of KAZOO_CLUSTER_KIND.
Its servers run KAZOO_CLUSTER_PROTOCOL, if that is set.

`pytest -p tests.conformance.kazoo_cluster --pyargs kazoo.tests`. kazoo's tests come with its package; their module
`kazoo.testing.common`, which starts Apache by Java's key stores, and the package objgraph, which one test counts
objects with, are replaced here before they are imported.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization

from tests.ensembles import EnsembleProcesses

SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="  # of the password "test"
NETTY = "org.apache.zookeeper.server.NettyServerCnxnFactory"


class Server:
    """One of the cluster, as the tests know it."""

    def __init__(self, ensemble: EnsembleProcesses, sid: int, secure_port: int) -> None:
        self._ensemble = ensemble
        self._sid = sid
        self.host = "127.0.0.1"
        self.client_port = ensemble.port(sid)
        self.address = f"127.0.0.1:{self.client_port}"
        self.secure_client_port = secure_port
        self.secure_address = f"127.0.0.1:{secure_port}"

    @property
    def running(self) -> bool:
        return self._sid in self._ensemble.running

    def run(self) -> None:
        if not self.running:
            self._ensemble.launch(self._sid)
            if len(self._ensemble.running) == len(self._ensemble.servers):
                self._ensemble.wait_serving()

    def stop(self) -> None:
        self._ensemble.stop(self._sid)


class ZookeeperCluster:
    """Made once per configuration; started and terminated once per class of tests."""

    def __init__(self, size: int, configuration_entries: Sequence[str], **_: object) -> None:
        self._kind = os.environ["KAZOO_CLUSTER_KIND"]
        self._size = size
        self._settings = dict(entry.split("=", 1) for entry in configuration_entries)
        if self._kind == "ours":  # what kazoo asks for by itself and we do not have
            self._settings = {key: value for key, value in self._settings.items() if key.startswith("4lw")}
        self._authority = trustme.CA()  # a client's certificate outlives a start of the servers
        self._server_cert = self._authority.issue_cert("localhost", "127.0.0.1")
        # Apache's reader of PEM files knows keys in PKCS 8 only.
        key = serialization.load_pem_private_key(self._server_cert.private_key_pem.bytes(), None)
        self._server_key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._client_cert = self._authority.issue_cert("client")
        self._ensemble: EnsembleProcesses | None = None
        self._servers: list[Server] = []
        self._set_up()

    def _set_up(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="kazoo-"))
        own, trusted = self._directory / "server.pem", self._directory / "trusted.pem"
        own.write_bytes(self._server_key + self._server_cert.cert_chain_pems[0].bytes())
        self._authority.cert_pem.write_to_path(str(trusted))
        tls = {"ssl.keyStore.type": "PEM", "ssl.keyStore.location": own}
        tls |= {"ssl.trustStore.type": "PEM", "ssl.trustStore.location": trusted}
        limits: dict[str, object] = {"tickTime": 2000, "initLimit": 4, "syncLimit": 2}
        limits |= {"DigestAuthenticationProvider.superDigest": SUPER, "readonlymode.enabled": "true"}
        if self._kind == "apache":
            limits |= {"serverCnxnFactory": NETTY, "ssl.hostnameVerification": "false"}
            limits |= {"authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
        kinds = [self._kind] * self._size
        if os.environ.get("KAZOO_CLUSTER_PROTOCOL"):
            limits["protocol"] = os.environ["KAZOO_CLUSTER_PROTOCOL"]
        self._ensemble = EnsembleProcesses(self._directory, *kinds, **(limits | tls | self._settings))
        self._servers = []
        for sid, process in self._ensemble.servers.items():
            port = self._ensemble.reserve_port()
            with process.config.open("a") as config:
                config.write(f"secureClientPort={port}\n")
            process.properties += ["-Dfile.encoding=UTF-8"]
            self._servers.append(Server(self._ensemble, sid, port))

    def __getitem__(self, at: int) -> Server:
        return self._servers[at]

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers)

    def start(self) -> None:
        if self._ensemble is None:
            self._set_up()
        assert self._ensemble is not None
        self._ensemble.launch(*[sid for sid in self._ensemble.servers if sid not in self._ensemble.running])
        self._ensemble.wait_serving()

    def terminate(self) -> None:
        if self._ensemble is not None:
            self._ensemble.close()
            self._ensemble = None
            shutil.rmtree(self._directory, ignore_errors=True)

    def get_logs(self) -> list[str]:
        return [] if self._ensemble is None else [self._ensemble.describe()]

    def get_ssl_client_configuration(self) -> dict[str, bytes]:
        return {
            "client_key": self._client_cert.private_key_pem.bytes(),
            "client_cert": self._client_cert.cert_chain_pems[0].bytes(),
            "ca_cert": self._authority.cert_pem.bytes(),
        }


def _count(typename: str, objects: Sequence[object] | None = None) -> int:
    return sum(type(item).__name__ == typename for item in (gc.get_objects() if objects is None else objects))


def _stand_in(name: str, **names: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(names)
    sys.modules[name] = module


_stand_in("kazoo.testing.common", ZookeeperCluster=ZookeeperCluster)
_stand_in("objgraph", count=_count)
os.environ.setdefault("ZOOKEEPER_VERSION", "3.8.0")
