"""Why a session costs what it costs: each line with the stretches, elements and steps behind it."""

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cpo.domain.amounts import Line
from cpo.domain.cost import Cost
from cpo.domain.money import CURRENCIES, plain, round_half_up
from cpo.domain.price_plan import LineKey
from cpo.domain.tariff import DAYS, Dimension, Element, Restrictions

_UNITS = {Dimension.ENERGY: "kWh", Dimension.FLAT: "times"}
_PER = {
    Dimension.ENERGY: " per kWh",
    Dimension.TIME: " per hour",
    Dimension.PARKING_TIME: " per hour of parking",
    Dimension.FLAT: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A stretch of a session in which one element priced one dimension.

    `quantity` in kWh or seconds, 1 for a FLAT; `because` names the element's restrictions that
    were met, all of them.
    """

    begins_at: datetime
    ends_at: datetime
    quantity: Decimal
    element: int
    because: str
    tariff: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedLine:
    """One line of the price: what was billed, at what, and where it comes from."""

    dimension: Dimension
    reservation: bool
    quantity: Decimal
    unit: str
    unit_price: Decimal
    vat: Decimal | None
    excl_vat: Decimal | None
    incl_vat: Decimal | None
    step_size: int | None
    step_surplus: Decimal
    uses: tuple[Use, ...]
    text: str


def explain(cost: Cost) -> tuple[ExplainedLine, ...]:
    """Explain every line of a cost, in order of first use. Amounts to the sixth decimal."""
    uses: dict[LineKey, list[Use]] = {}
    last: dict[LineKey, Element] = {}
    for use in cost.uses:
        found = last[use.line] = cost.tariff.elements[use.element]
        tariff, number = found.place or (cost.tariff.id or None, use.element)
        uses.setdefault(use.line, []).append(
            Use(
                begins_at=use.begins_at,
                ends_at=use.ends_at,
                quantity=round_half_up(use.quantity, 9),
                element=number,
                because=restrictions_text(found.restrictions),
                tariff=tariff,
            )
        )
    return tuple(
        _line(cost, line, tuple(uses.get(key, ())), last.get(key))
        for key, line in zip(cost.line_keys, cost.lines, strict=True)
    )


def _line(cost: Cost, line: Line, uses: tuple[Use, ...], last: Element | None) -> ExplainedLine:
    net, gross = (_six(amount) for amount in line.amount)
    surplus = round_half_up(line.step_surplus, 9)
    step = None
    if line.step_surplus and last is not None:
        step = next((c.step_size for c in last.components if c.type is line.dimension), None)
    return ExplainedLine(
        dimension=line.dimension,
        reservation=line.reservation,
        quantity=round_half_up(line.quantity, 9),
        unit=_UNITS.get(line.dimension, "s"),
        unit_price=line.unit_price,
        vat=line.vat,
        excl_vat=net,
        incl_vat=gross,
        step_size=step,
        step_surplus=surplus,
        uses=uses,
        text=_sentence(cost, line, step),
    )


def _sentence(cost: Cost, line: Line, step: int | None) -> str:
    if line.dimension is Dimension.FLAT:
        words = "a reservation" if line.reservation else "the session"
        text = f"once for {words}: {plain(line.unit_price)}"
    else:
        unit = _UNITS.get(line.dimension, "s")
        text = f"{plain(round_half_up(line.quantity, 6))} {unit}"
        if line.reservation:
            text += " of reservation"
        if step is not None:
            blocks = f"{step} {'Wh' if line.dimension is Dimension.ENERGY else 's'}"
            more = plain(round_half_up(line.step_surplus, 6))
            text += f" ({more} {unit} of them fill up a block of {blocks})"
        text += f" at {plain(line.unit_price)}{_PER[line.dimension]}"
    billed = line.amount.net if line.amount.net is not None else line.amount.gross
    if billed is not None:
        places = max(CURRENCIES.get(cost.currency, 2), 4)
        text += f" = {plain(round_half_up(billed, places))} {cost.currency}"
    if line.vat is not None:
        text += f", {plain(line.vat)} % VAT"
    return text


def restrictions_text(restrictions: Restrictions) -> str:
    """Say in words when an element is active; "always" when nothing restricts it."""
    found = restrictions_given(restrictions)
    if not found:
        return "always"
    return ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in found.items()
    )


def restrictions_given(restrictions: Restrictions) -> dict[str, Any]:
    """The restrictions that are set, by their OCPI names and in OCPI's spelling."""
    given: dict[str, Any] = {}
    for field in fields(restrictions):
        value = getattr(restrictions, field.name)
        if value is None or value == ():
            continue
        if field.name == "day_of_week":
            given[field.name] = [DAYS[day] for day in value]
        elif field.name in ("start_time", "end_time"):
            given[field.name] = value.strftime("%H:%M")
        elif isinstance(value, Decimal):
            given[field.name] = plain(value)
        else:
            given[field.name] = str(value)
    return given


def _six(amount: Fraction | None) -> Decimal | None:
    return None if amount is None else round_half_up(amount, 6)
