"""What outlets show, derived from what is going on, and told when it changes. Pure."""

from chargers_sim.body import Body
from chargers_sim.happenings import StatusChanged
from chargers_sim.outlet import Outlet, Status


class Statuses:
    """The statuses of one station."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._shown: Status | None = None

    def of(self, outlet: Outlet) -> Status:
        """Derive what an outlet shows from what is going on."""
        status = self.plain(outlet)
        if status == "Available" and self._body.reserved:
            # Where all that are free are spoken for, each of them is.
            free = sum(self.plain(o) == "Available" for o in self._body.outlets.values())
            return "Reserved" if free <= len(self._body.reserved) else status
        return status

    def plain(self, outlet: Outlet) -> Status:
        """Derive it without the reservations for any outlet."""
        if outlet.fault or self._body.fault:
            return "Faulted"
        if outlet.charging and outlet.transaction is not None:
            state = outlet.transaction.state
            if state in {"Charging", "SuspendedEV", "SuspendedEVSE"}:
                return state  # type: ignore[return-value]
            return "Finishing" if outlet.transaction.reason else "Preparing"
        if not outlet.operative or not self._body.operative:
            return "Unavailable"
        if outlet.plugged:
            return "Finishing" if outlet.finished and outlet.token is None else "Preparing"
        if outlet.token is not None:
            return "Preparing"
        if any(o.plugged or o.charging for o in self._body.siblings(outlet)):
            return "Unavailable"
        return "Reserved" if outlet.reservation else "Available"

    def usable(self, outlet: Outlet) -> bool:
        """Say whether a charge may start at an outlet."""
        return self.of(outlet) not in {"Faulted", "Unavailable"}

    def report(self, number: int, at_ms: int) -> StatusChanged:
        """Say what an outlet (0: the station) shows now, changed or not."""
        if number == 0:
            status: Status = "Available" if self._body.operative else "Unavailable"
            status = "Faulted" if self._body.fault else status
            fault = self._body.fault
        else:
            outlet = self._body.outlets[number]
            status, fault = self.of(outlet), outlet.fault or self._body.fault
        error = (fault or "OtherError") if status == "Faulted" else "NoError"
        return StatusChanged(outlet=number, status=status, error=error, at_ms=at_ms, asked=True)

    def refresh(self, at_ms: int, *, station: bool = False) -> None:
        """Tell the statuses that changed."""
        own: Status = (
            "Faulted"
            if self._body.fault
            else "Available"
            if self._body.operative
            else "Unavailable"
        )
        if own != self._shown and (station or self._shown is not None):
            self._body.happened.append(
                StatusChanged(
                    outlet=0, status=own, error=self._body.fault or "NoError", at_ms=at_ms
                )
            )
        if station or self._shown is not None:
            self._shown = own
        for outlet in self._body.outlets.values():
            status, since_ms = self.of(outlet), at_ms
            if status == outlet.shown:
                outlet.pending = None
                continue
            if self._body.settings.status_seconds and outlet.shown is not None:
                # A status counts when it has lasted (MinimumStatusDuration).
                if outlet.pending != status:
                    outlet.pending, outlet.pending_since_ms = status, at_ms
                since_ms = outlet.pending_since_ms
            if (
                at_ms >= since_ms + self._body.settings.status_seconds * 1000
                or outlet.shown is None
            ):
                outlet.shown, outlet.pending = status, None
                error = (
                    (outlet.fault or self._body.fault or "NoError") if status == "Faulted" else ""
                )
                self._body.happened.append(
                    StatusChanged(
                        outlet=outlet.number,
                        status=status,
                        error=error or "NoError",
                        at_ms=since_ms,
                    )
                )

    def forget(self) -> None:
        """Forget what was told: the next look tells everything."""
        self._shown = None
        for outlet in self._body.outlets.values():
            outlet.shown = outlet.pending = None
