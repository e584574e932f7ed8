"""A charge that is only imagined, so that it can be priced like a real one."""

from datetime import datetime, timedelta
from decimal import Decimal

from cpo.domain.periods import Activity, MeterSample, PowerSample, Record, StateChange


def imagined(
    *,
    at: datetime,
    energy_wh: Decimal,
    charging: timedelta,
    parking: timedelta = timedelta(0),
    power_w: Decimal | None = None,
) -> Record:
    """Return the record of a charge that draws its energy evenly and then stays parked.

    Power is the mean of the energy over the time unless given.
    """
    full_at = at + charging
    seconds = Decimal(charging // timedelta(microseconds=1)) / 1_000_000
    if power_w is None and seconds:
        power_w = energy_wh * 3600 / seconds
    states = [StateChange(at, Activity.CHARGING)]
    if parking:
        states.append(StateChange(full_at, Activity.PARKING))
    power = () if power_w is None else (PowerSample(at, power_w),)
    return Record(
        started_at=at,
        ended_at=full_at + parking,
        meter=(MeterSample(at, Decimal(0)), MeterSample(full_at, energy_wh)),
        states=tuple(states),
        power=power if not parking else (*power, PowerSample(full_at, Decimal(0))),
    )
