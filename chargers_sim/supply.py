"""How much power flows at an outlet: what is offered, what the car takes. Pure."""

from collections.abc import Callable

from chargers_sim.body import Body
from chargers_sim.car import ChargingState, Plan
from chargers_sim.outlet import Outlet


class Supply:
    """The power of one station; `limit_w` gives the limit at an outlet and when it changes."""

    def __init__(self, body: Body) -> None:
        self.limit_w: Callable[[Outlet, int], tuple[int | None, int | None]] = _no_limit
        self._body = body

    def flows(self, outlet: Outlet) -> bool:
        """Say whether energy may flow at an outlet."""
        transaction = outlet.transaction
        return (
            transaction is not None
            and transaction.running
            and outlet.plugged
            and (transaction.token is not None)
            and transaction.reason is None
            and not transaction.blocked
        )

    def power_w(self, outlet: Outlet) -> int:
        """Tell the power that flows at an outlet now."""
        if outlet.draw is None or not self.flows(outlet) or not self._body.powered:
            return 0
        return outlet.draw.power_w(self.offer_w(outlet))

    def offer_w(self, outlet: Outlet) -> int | None:
        """Tell what the station offers the car at an outlet; None is all it has."""
        offered, _ = self.limit_w(outlet, self._body.now_ms or 0)
        return self.offer(outlet, offered)

    def offer(self, outlet: Outlet, limited_w: int | None) -> int | None:
        """Tell what is left of a limit for the car at an outlet."""
        if isinstance(outlet.draw, Plan):
            # A plan is exact: only a charging profile may hold it back.
            return None if limited_w is None else max(0, limited_w)
        return outlet.max_power_w if limited_w is None else min(outlet.max_power_w, limited_w)

    def charging_state(self, outlet: Outlet) -> ChargingState:
        """Say in OCPP's word what a running charge is doing."""
        if outlet.transaction is not None and outlet.transaction.blocked:
            return "SuspendedEVSE"
        wants: ChargingState = "Charging" if outlet.draw is None else outlet.draw.wants
        return "SuspendedEVSE" if wants == "Charging" and self.offer_w(outlet) == 0 else wants

    def flow(self, since_ms: int, elapsed_ms: int) -> None:
        """Let energy flow for a while; the limits are those of its beginning."""
        for outlet in self._body.outlets.values():
            if outlet.draw is not None and self.flows(outlet):
                offered, _ = self.limit_w(outlet, since_ms)
                taken = outlet.draw.take(elapsed_ms, self.offer(outlet, offered))
                outlet.meter.count(taken)


def _no_limit(_outlet: Outlet, _at_ms: int) -> tuple[int | None, int | None]:
    return None, None
