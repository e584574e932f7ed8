"""Whether it matters to the price when, within a gap between two readings, energy was drawn."""

from datetime import tzinfo

from cpo.domain.periods import MeterSample, Record
from cpo.domain.price_plan import NWH_PER_WH, Bands, PricePlan, exact, plan_of, to_us
from cpo.domain.tariff import Dimension, Tariff


def price_may_change(
    record: Record, one: MeterSample, other: MeterSample, tariff: Tariff, zone: tzinfo
) -> bool:
    """Tell whether a session may cost something else for how its energy ran between two readings.

    It does not where one price of energy holds throughout, or where only the energy drawn decides
    which: the registers at both ends say how much that was.
    """
    plan = plan_of(tariff)
    energy = plan.session[Dimension.ENERGY]
    timed = plan.session[Dimension.TIME] | plan.session[Dimension.PARKING_TIME]
    if _differs(plan.power, energy | timed) or _differs(plan.current, energy | timed):
        return True
    if len({mask & energy for mask in _times(plan, record, one, other, zone)}) > 1:
        return True
    # When a limit in kWh was reached decides from when on another price of time holds.
    begin, end = (exact(reading.energy_wh, NWH_PER_WH) for reading in (one, other))
    reached = {plan.energy.at(begin) & timed, plan.energy.at(end) & timed} | {
        plan.energy.at(bound) & timed for bound in plan.energy.bounds if begin < bound < end
    }
    return len(reached) > 1


def _times(
    plan: PricePlan, record: Record, one: MeterSample, other: MeterSample, zone: tzinfo
) -> list[int]:
    origin = record.started_at if record.reserved_from is None else record.reserved_from
    cuts = plan.calendar(to_us(origin), to_us(one.at), to_us(other.at), zone)
    return [mask for _, mask in cuts]


def _differs(bands: Bands, elements: int) -> bool:
    return len({mask & elements for mask in bands.masks}) > 1
