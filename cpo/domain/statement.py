"""The monthly statement of a partner: its CDRs and credits, summed per currency and tax rate."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal

from cpo.domain.cdr import Cdr
from cpo.errors import Invalid

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxSum:
    """What one tax rate (percent) came to."""

    rate: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One CDR; a credit has negative amounts and energy. Confirmed is when the partner took it."""

    cdr_id: str
    session_id: str
    start_date_time: datetime
    end_date_time: datetime
    issued_at: datetime
    location_id: str
    evse_uid: str
    contract_id: str
    kwh: Decimal
    currency: str
    excl_vat: Decimal | None
    incl_vat: Decimal | None
    taxes: tuple[TaxSum, ...]
    credit: bool
    credit_reference_id: str | None
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSum:
    """All lines of one currency. `incl_vat` counts a line without known tax with its net."""

    currency: str
    cdrs: int
    credits: int
    kwh: Decimal
    excl_vat: Decimal
    incl_vat: Decimal
    taxes: tuple[TaxSum, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A month of a partner: what we hold, and which of it the partner has confirmed.

    `unconfirmed` are CDRs the partner has not taken yet; `held` wait for the operator and are in
    no sum.
    """

    partner_id: str
    month: str
    time_zone: str
    lines: tuple[StatementLine, ...]
    sums: tuple[StatementSum, ...]
    unconfirmed: tuple[str, ...]
    held: tuple[str, ...]


def month_bounds(month: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the first instant of a month (`2026-01`) and of the next, in UTC.

    Raises:
        Invalid: it is no month.
    """
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=zone)
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        return first.astimezone(UTC), following.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise Invalid("month", f"{month!r} is not a month like 2026-01") from None


def statement(
    cdrs: Iterable[Cdr],
    *,
    partner_id: str,
    month: str,
    time_zone: str,
    confirmed: Mapping[str, datetime],
) -> Statement:
    """Sum up the CDRs that were issued in a month; held ones only by name.

    A CDR belongs to the month in which it was issued, not in which was charged: so a credit never
    changes a month that is closed.
    """
    held, lines = [], []
    for cdr in cdrs:
        if cdr.hold:
            held.append(cdr.id)
        else:
            lines.append(_line(cdr, confirmed.get(cdr.id)))
    lines.sort(key=lambda line: (line.issued_at, line.cdr_id))
    currencies = dict.fromkeys(line.currency for line in lines)
    return Statement(
        partner_id=partner_id,
        month=month,
        time_zone=time_zone,
        lines=tuple(lines),
        sums=tuple(_sum(c, [line for line in lines if line.currency == c]) for c in currencies),
        unconfirmed=tuple(line.cdr_id for line in lines if line.confirmed_at is None),
        held=tuple(held),
    )


def _line(cdr: Cdr, confirmed_at: datetime | None) -> StatementLine:
    sign = -1 if cdr.credit else 1
    total = cdr.cost.total if cdr.cost is not None else None
    net = total.excl_vat if total is not None else None
    gross = total.incl_vat if total is not None else None
    return StatementLine(
        cdr_id=cdr.id,
        session_id=cdr.session_id,
        start_date_time=cdr.start_date_time,
        end_date_time=cdr.end_date_time,
        issued_at=cdr.last_updated or cdr.end_date_time,
        location_id=cdr.snapshot.location.id,
        evse_uid=cdr.snapshot.evse_uid,
        contract_id=cdr.token.contract_id or cdr.token.uid,
        kwh=sign * cdr.energy_wh / 1000,
        currency=cdr.currency,
        excl_vat=None if net is None else sign * net,
        incl_vat=None if gross is None else sign * gross,
        taxes=tuple(
            TaxSum(rate=tax.rate, amount=sign * tax.amount)
            for tax in (total.taxes if total is not None else ())
        ),
        credit=cdr.credit,
        credit_reference_id=cdr.credit_reference_id,
        confirmed_at=confirmed_at,
    )


def _sum(currency: str, lines: list[StatementLine]) -> StatementSum:
    zero = Decimal(0)
    rates: dict[Decimal, Decimal] = {}
    for line in lines:
        for tax in line.taxes:
            rates[tax.rate] = rates.get(tax.rate, zero) + tax.amount
    nets = [line.incl_vat if line.excl_vat is None else line.excl_vat for line in lines]
    grosses = [line.excl_vat if line.incl_vat is None else line.incl_vat for line in lines]
    return StatementSum(
        currency=currency,
        cdrs=sum(not line.credit for line in lines),
        credits=sum(line.credit for line in lines),
        kwh=sum((line.kwh for line in lines), zero),
        excl_vat=sum((amount or zero for amount in nets), zero),
        incl_vat=sum((amount or zero for amount in grosses), zero),
        taxes=tuple(TaxSum(rate=rate, amount=rates[rate]) for rate in sorted(rates)),
    )


def statement_csv(found: Statement) -> str:
    """Write the lines of a statement as CSV with one column a tax rate."""
    rates = sorted({tax.rate for line in found.lines for tax in line.taxes})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        [
            "cdr_id", "session_id", "start_date_time", "end_date_time", "issued_at", "location_id",
            "evse_uid", "contract_id", "kwh", "currency", "excl_vat", "incl_vat",
            *(f"tax_{format(rate, 'f')}_percent" for rate in rates),
            "credit", "credit_reference_id", "confirmed_at",
        ]
    )  # fmt: skip
    for line in found.lines:
        taxes = {tax.rate: tax.amount for tax in line.taxes}
        writer.writerow(
            [
                _cell(line.cdr_id), _cell(line.session_id), _instant(line.start_date_time),
                _instant(line.end_date_time), _instant(line.issued_at), _cell(line.location_id),
                _cell(line.evse_uid), _cell(line.contract_id), _number(line.kwh), line.currency,
                _number(line.excl_vat), _number(line.incl_vat),
                *(_number(taxes.get(rate)) for rate in rates),
                "true" if line.credit else "false", _cell(line.credit_reference_id or ""),
                _instant(line.confirmed_at),
            ]
        )  # fmt: skip
    return out.getvalue()


def _cell(text: str) -> str:
    """Quote a text that a spreadsheet would take for a formula; partners choose their texts."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _number(value: Decimal | None) -> str:
    return "" if value is None else format(value, "f")


def _instant(value: datetime | None) -> str:
    return "" if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
