"""Connects a server's Replica to its election port and quorum port."""

import asyncio
import errno
import logging
from contextlib import AsyncExitStack
from socket import gaierror
from time import monotonic_ns
from typing import TYPE_CHECKING

from recipes.core.config import SECRET_NEEDS
from recipes.core.errors import ConfigError, invariant
from recipes.core.jute.votes import Notification
from recipes.core.outbox import Outbox
from recipes.core.quorum import QuorumServer
from recipes.core.replication import Recovered, Replica, ReplicaSettings, ReplicationProtocol
from recipes.core.server.client_port import read_buffer
from recipes.core.server.election_port import ElectionPort
from recipes.core.server.ensemble_facts import EnsembleFacts
from recipes.core.server.peer_sockets import PeerSockets
from recipes.core.server.quorum_port import QuorumPort
from recipes.core.server.refusals import Refusals
from recipes.core.server.settings import new_secret
from recipes.core.server.unavailability import Unavailability

if TYPE_CHECKING:
    from recipes.core.server.server import Server

log: logging.Logger = logging.getLogger("recipes.server")

_PORT_PAUSE_S = 1.0  # between two attempts to open the own ports
_TRIES_PER_WORD = 10
_STILL_LOOKING_S = 10.0  # how often to warn the operator while there is no leader


class Peering:
    """This server's part in its ensemble.

    found: the result of recovery. secret: the stored one that the members share. facts: figures for operators.
    """

    def __init__(self, server: "Server", protocol: ReplicationProtocol, found: Recovered, secret: bytes) -> None:
        config = server.config
        membership, sid = config.membership, config.server_id
        invariant(membership is not None and sid is not None, "a peer without an ensemble")
        if config.session_secret == "own" and not config.members_have_certificates:
            raise ConfigError("sessionSecret", "own", SECRET_NEEDS)
        self._settings = ReplicaSettings(
            sid,  # type: ignore[arg-type]
            membership,  # type: ignore[arg-type]
            config.tick_time_ms,
            config.init_limit,
            config.sync_limit,
            config.most_snaps,
            config.most_diffs,
            2 * config.max_frame_bytes,
            secret,
            new_secret() if config.session_secret == "own" else b"",
        )
        self._server = server
        self._role = ""
        loop = asyncio.get_running_loop()
        self._notes = Refusals(loop.time, loop.call_later)  # some are about what strangers did
        self._times = Unavailability()
        self._reminder: asyncio.TimerHandle | None = None  # set while this server does not serve
        self._has_served = self._said_why_no_reads = False
        self.peer: Replica = protocol.start(self._settings, found, monotonic_ns() // 1_000_000)
        self.facts: EnsembleFacts = EnsembleFacts(config, self._settings, self.peer)

    async def start(self, stack: AsyncExitStack) -> None:
        """Open the ports until the stack ends.

        Raises OSError, with this server's id, when after several tries the election port cannot be opened, or, on a
        server that may lead, the quorum port.
        """
        config, settings = self._server.config, self._settings
        self._times.stats = self._server.member.stats
        servers = settings.membership.servers
        own = servers[settings.sid]
        accepts = dials = None
        if config.ssl_quorum or config.port_unification:
            from recipes.core.server.tls import peer_contexts  # imported only if needed: it takes time

            accepts, dials = peer_contexts(config)
        if not config.ssl_quorum:
            dials = None
        elif config.port_unification:
            log.warning(
                "other servers may connect without TLS: set portUnification=false once all of them have sslQuorum"
            )
        sockets = PeerSockets(
            None if config.quorum_listen_on_all_ips else own.host,
            config.tick_time_ms * config.sync_limit,
            accepts,
            dials,
            accepts_plain=config.port_unification,
            hosts={sid: [each.host for each in server.addresses] for sid, server in servers.items()}
            if config.certificates_name_servers
            else None,
        )
        self._links = QuorumPort(
            settings.sid,
            {sid: (server.host, server.quorum_port) for sid, server in servers.items()},
            sockets,
            self.peer,
            buffer=read_buffer(),
            patience_ms=config.tick_time_ms,
            schedule=self._server.schedule,
            fail=self._server.fail,
            others={sid: [(each.host, each.quorum_port) for each in server.others] for sid, server in servers.items()},
        )
        self._votes = ElectionPort(
            settings.sid,
            {sid: (server.host, server.election_port) for sid, server in servers.items()},
            sockets,
            heard=self._heard,
            unreachable=self._unreachable,
            others={
                sid: [(each.host, each.election_port) for each in server.others] for sid, server in servers.items()
            },
        )
        stack.push_async_callback(self._links.close)
        stack.push_async_callback(self._votes.close)
        stack.callback(self._stop_reminder)
        await self._open_ports(own, config.election_port_tries)

    async def _open_ports(self, own: QuorumServer, most_tries: int) -> None:
        """Open the ports, after a pause again where that fails: the own name may not be known yet, or a predecessor of
        this server may be about to end."""
        tries = 0
        while True:
            try:
                if not own.observer:
                    await self._links.check()
                await self._votes.start()
            except (OSError, UnicodeError) as error:
                why = f"server.{own.sid}: {_why_no_port(own, error)}"
                tries += 1
                if tries == most_tries:
                    raise OSError(why) from error
                if tries % _TRIES_PER_WORD == 1:
                    log.warning("%s; trying again every second (electionPortBindRetry=%s)", why, most_tries)
                await asyncio.sleep(_PORT_PAUSE_S)
            else:
                return

    def post(self, outbox: Outbox) -> None:
        """Carry out the network part of a turn, and log a change of role."""
        peer = self.peer
        for sid, note in outbox.votes:
            self._votes.send(sid, note)
        self._links.listen(peer.listening)
        if outbox.touched:
            self._links.flush(outbox.touched)
        if outbox.dial is not None:
            self._links.dial(outbox.dial)
        for fact in outbox.notes:
            self._notes.say(fact, level=logging.INFO)
        if not peer.serving:
            self._times.looking(peer.status().stage, monotonic_ns() // 1_000_000)
        role = self._server.member.role
        if role != self._role:
            self._role = role
            if role == "leader":
                self.facts.leading_since_ms = monotonic_ns() // 1_000_000
            if peer.serving:
                self._times.serving(role, monotonic_ns() // 1_000_000)
            self._has_served |= peer.serving
            self._stop_reminder()
            if not peer.serving:
                self._remind_later()
            if peer.serving:
                log.info("%s in epoch %s", role, peer.epoch)
            elif role == "read-only":
                log.info("read-only: there is no leader; clients that connected with read_only are served")
            else:
                log.info("looking for a leader: %s", peer.why_looking)

    def _remind_later(self) -> None:
        self._reminder = asyncio.get_running_loop().call_later(_STILL_LOOKING_S, self._say_still_looking)

    def _say_still_looking(self) -> None:
        self._remind_later()
        missing = self._votes.out_of_contact()
        if missing:
            many = "s" if len(missing) > 1 else ""
            log.warning("still no leader: no contact with server%s %s", many, ", ".join(map(str, missing)))
        else:
            log.warning("still no leader, in contact with every server: %s", self.peer.why_looking)
        if self._server.config.read_only_mode and not self._has_served and not self._said_why_no_reads:
            self._said_why_no_reads = True
            log.info("read-only mode is not available: this server has not served since it was started")

    def _stop_reminder(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None

    def _heard(self, sid: int, note: Notification) -> None:
        self._server.schedule()
        self._server.guarded(lambda: self.peer.notified(sid, note))

    def _unreachable(self, sid: int, is_unreachable: bool) -> None:
        self._server.schedule()
        self._server.guarded(lambda: self.peer.unreachable(sid, is_unreachable))


def _why_no_port(own: QuorumServer, error: OSError | UnicodeError) -> str:
    """The text for the operator when this server cannot listen for the others."""
    if isinstance(error, gaierror | UnicodeError):
        return f"{own.host}: name not known"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{own.host} is no address of this machine: is server.{own.sid} this machine? myid says {own.sid}"
    return error.strerror or str(error)
