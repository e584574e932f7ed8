"""Feeds the metrics that show what the services know."""

from collections import Counter, OrderedDict
from collections.abc import Mapping

import cpo
from cpo.domain.command import Command
from cpo.domain.session import Session, SessionStatus
from cpo.services.commands import Commands
from cpo.services.memory import Memory
from cpo.services.transactions import Transactions
from cpo.telemetry import Metrics

# Sessions whose end was counted: an end that is told again (a late reading) is a correction.
REMEMBERED = 10_000
_ENDED = {SessionStatus.COMPLETED: "completed", SessionStatus.INVALID: "invalid"}

Labels = tuple[str, ...]


class Observer:
    """Counts what happens, and reads what is from memory when Prometheus asks."""

    def __init__(
        self, metrics: Metrics, memory: Memory, transactions: Transactions, commands: Commands
    ) -> None:
        self._metrics = metrics
        self._memory = memory
        self._ended: OrderedDict[str, None] = OrderedDict()
        metrics.build_info.set(1, cpo.__version__)
        metrics.ocpp_connections.read_from(self._connections)
        metrics.evses.read_from(self._evses)
        metrics.transactions_active.read_from(self._active)
        transactions.on_session.append(self.session)
        commands.on_finished.append(self.command)

    def _connections(self) -> Mapping[Labels, float]:
        links = (s.link for s in self._memory.stations.values() if self._memory.holds(s))
        return {(v,): n for v, n in Counter(link.version for link in links if link).items()}

    def _evses(self) -> Mapping[Labels, float]:
        statuses = (str(state.status) for state in self._memory.sites.statuses.values())
        return {(status,): count for status, count in Counter(statuses).items()}

    def _active(self) -> Mapping[Labels, float]:
        states = [s for s in self._memory.stations.values() if self._memory.holds(s)]
        return {(): sum(len(state.open_transactions()) for state in states)}

    def session(self, session: Session) -> None:
        """Count a session's end, once."""
        outcome = _ENDED.get(session.status)
        if outcome is None:
            return
        if session.id in self._ended:
            self._metrics.transactions.inc("corrected")
            return
        self._ended[session.id] = None
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._metrics.transactions.inc(outcome)
        self._metrics.energy_delivered.inc(by=float(session.energy_wh))

    async def command(self, command: Command) -> None:
        """Count a command's end."""
        if command.outcome is None:
            return
        self._metrics.commands.inc(str(command.kind), str(command.outcome))
        if command.finished_at is not None:
            seconds = (command.finished_at - command.created_at).total_seconds()
            self._metrics.command_duration.observe(max(0.0, seconds), str(command.kind))
