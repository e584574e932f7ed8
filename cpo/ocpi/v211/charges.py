"""Sessions, CDRs and tariffs in the words of OCPI 2.1.1: amounts without tax."""

from typing import Any

from cpo.domain.cdr import Cdr
from cpo.domain.pricing import Breakdown
from cpo.domain.session import Session, SessionStatus
from cpo.domain.tariff import Element, Tariff
from cpo.domain.tokens import AuthMethod
from cpo.domain.values import replace
from cpo.errors import Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import (
    DEFAULT,
    Quirks,
    Rendered,
)
from cpo.ocpi.rendering import (
    Volumes,
    Write,
    compact,
    instant_writer,
    net_price,
    problems_in,
    rendered,
    restrictions_document,
    rounded,
    shortened,
    volumes,
)
from cpo.ocpi.v211 import wire, words
from cpo.ocpi.v211.places import Places, energy_mix


class Charges(Places):
    """What a charge comes to, and what it costs; sessions and CDRs embed their place."""

    def session(self, session: Session, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a session whole."""
        write = instant_writer(quirks.date_style)
        measured = volumes(session.periods, session.energy_wh)
        status = "CHARGING" if session.status is SessionStatus.ACTIVE else "UNKNOWN"
        document = compact(
            {
                "id": session.id,
                "start_datetime": write(session.start_date_time),
                "end_datetime": session.end_date_time and write(session.end_date_time),
                "auth_id": session.token and session.token.contract_id,
                "location": self._embedded_location(
                    session.snapshot, session.start_date_time, status, write
                ),
                "meter_id": session.meter_id,
                **self._changing(session, measured, quirks, write),
            }
        )
        # An empty list is meant here: a PUT without it would leave the old periods in doubt.
        document["charging_periods"] = _periods(measured, session.cost, write)
        return rendered(wire.Session, document)

    def session_patch(self, session: Session, quirks: Quirks = DEFAULT) -> Rendered:
        """Render the PATCH body of a running session: all that changes, but no periods (SES-7)."""
        write = instant_writer(quirks.date_style)
        measured = volumes(session.periods, session.energy_wh)
        document = compact(
            {
                "end_datetime": session.end_date_time and write(session.end_date_time),
                **self._changing(session, measured, quirks, write),
            }
        )
        return rendered(wire.Session, document, partial=True)

    def _changing(
        self, session: Session, measured: Volumes, quirks: Quirks, write: Write
    ) -> dict[str, Any]:
        # Absent does not mean free (SES-15): without a tariff nobody knows the cost yet.
        priced = session.snapshot is not None and session.snapshot.tariff is not None
        cost = session.cost if priced else None
        return {
            "kwh": measured.kwh,
            "auth_method": _auth_method(session.auth_method, quirks),
            "currency": session.currency,
            "total_cost": cost
            and exact_json.number(rounded(cost, session.currency, quirks).total.before_taxes),
            "status": str(session.status),
            "last_updated": session.last_updated and write(session.last_updated),
        }

    def cdr(self, cdr: Cdr, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a CDR; a credit CDR is a problem: this version has none (CDR-6)."""
        write = instant_writer(quirks.date_style)
        left_out: list[str] = []
        measured = volumes(cdr.periods, cdr.energy_wh)
        problems = (Invalid("credit", "2.1.1 has no credit CDRs"),) if cdr.credit else ()
        if cdr.signed:
            left_out.append("signed_data")
        document = compact(
            {
                "id": cdr.id,
                "start_date_time": write(cdr.start_date_time),
                "stop_date_time": write(cdr.end_date_time),
                "auth_id": cdr.token.contract_id,
                "auth_method": _auth_method(cdr.auth_method, quirks),
                "location": self._embedded_location(
                    cdr.snapshot, cdr.start_date_time, "UNKNOWN", write
                ),
                "meter_id": cdr.meter_id,
                "currency": cdr.currency,
                "tariffs": self._cdr_tariffs(cdr, write, left_out),
                "charging_periods": _periods(measured, cdr.cost, write),
                "total_cost": exact_json.number(
                    rounded(cdr.cost, cdr.currency, quirks).total.before_taxes
                ),
                "total_energy": measured.kwh,
                "total_time": measured.hours,
                "total_parking_time": measured.parking_hours or None,
                "remark": shortened(_remark(cdr), 255),
                "last_updated": cdr.last_updated and write(cdr.last_updated),
            }
        )
        sealed = rendered(wire.Cdr, document, left_out, problems=problems)
        if quirks.cdr_end_date_time:
            document["end_date_time"] = document["stop_date_time"]
            return replace(sealed, text=exact_json.encode_document(document))
        return sealed

    def _cdr_tariffs(self, cdr: Cdr, write: Write, left_out: list[str]) -> list[dict[str, Any]]:
        documents = []
        for tariff in cdr.snapshot.tariffs:
            document, problems = _tariff_document(tariff, write, left_out)
            problems = [*problems, *problems_in(wire.Tariff, document)]
            if problems:
                # Optional here: the amount stands in the CDR itself, and it must be billed.
                left_out.append(f"tariffs ({problems[0]})")
                continue
            documents.append(document)
        return documents

    # --- tariffs ----------------------------------------------------------------------------------

    def tariff(self, tariff: Tariff, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a tariff without what this version cannot say.

        Elements for reservations, price limits and validity are left out; a restriction by
        current is a problem, since without it the price would be wrong.
        """
        left_out: list[str] = []
        document, problems = _tariff_document(tariff, instant_writer(quirks.date_style), left_out)
        return rendered(wire.Tariff, document, left_out, problems=problems)


def _auth_method(method: AuthMethod, quirks: Quirks) -> str:
    """Name how a session was authorized; a remote start has no word here (SES-13)."""
    return quirks.command_auth_method if method is AuthMethod.COMMAND else str(method)


def _periods(measured: Volumes, cost: Breakdown | None, write: Write) -> list[dict[str, Any]]:
    """Render the periods with the dimensions this version has, a start fee in the first.

    One of reserved time alone is left out: nothing in it could be said.
    """
    periods: list[dict[str, Any]] = []
    for period, dimensions in measured.periods:
        known = [
            {"type": dimension, "volume": volume}
            for dimension, volume in dimensions
            if dimension in words.CDR_DIMENSIONS
        ]
        if known:
            periods.append({"start_date_time": write(period.started_at), "dimensions": known})
    if periods and cost is not None and cost.fixed is not None:
        periods[0]["dimensions"].append({"type": "FLAT", "volume": 1})
    return periods


def _tariff_document(
    tariff: Tariff, write: Write, left_out: list[str]
) -> tuple[dict[str, Any], list[Invalid]]:
    problems: list[Invalid] = []
    elements = []
    for index, element in enumerate(tariff.elements):
        at = f"elements[{index}]"
        if element.restrictions.reservation is not None:
            left_out.append(at)
            continue
        elements.append(_element_document(tariff, element, at, problems))
    left_out.extend(
        name
        for name, value in (
            ("type", tariff.type),
            ("min_price", tariff.min_price),
            ("max_price", tariff.max_price),
            ("start_date_time", tariff.valid_from),
            ("end_date_time", tariff.valid_until),
        )
        if value is not None
    )
    document = compact(
        {
            "id": tariff.id,
            "currency": tariff.currency,
            "tariff_alt_text": [
                {"language": text.language, "text": text.text} for text in tariff.alt_text
            ],
            "tariff_alt_url": tariff.alt_url,
            "energy_mix": tariff.energy_mix and energy_mix(tariff.energy_mix),
            "last_updated": tariff.last_updated and write(tariff.last_updated),
        }
    )
    document["elements"] = elements
    return document, problems


def _element_document(
    tariff: Tariff, element: Element, at: str, problems: list[Invalid]
) -> dict[str, Any]:
    components = []
    for number, component in enumerate(element.components):
        price = net_price(tariff, component)
        if price is None:
            problems.append(
                Invalid(
                    f"{at}.price_components[{number}].price",
                    "includes a tax of unknown rate, and 2.1.1 has prices without tax only",
                )
            )
            price = component.price
        components.append(
            {
                "type": str(component.type),
                "price": price,
                "step_size": component.step_size,
            }
        )
    restrictions = restrictions_document(element.restrictions)
    problems.extend(
        Invalid(f"{at}.restrictions.{name}", "2.1.1 has no such restriction")
        for name in ("min_current", "max_current")
        if restrictions.pop(name, None) is not None
    )
    return compact({"price_components": components, "restrictions": restrictions or None})


def _remark(cdr: Cdr) -> str | None:
    """Return what a CDR has to say; what 2.1.1 has no field for, too."""
    home = "home charging, to be compensated" if cdr.home_charging_compensation else None
    return "; ".join(part for part in (cdr.remark, home) if part) or None
