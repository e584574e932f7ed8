"""Sessions, CDRs and tariffs in the words of OCPI 2.2.1."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from cpo.domain.cdr import Cdr
from cpo.domain.pricing import Price
from cpo.domain.session import Session, SessionStatus
from cpo.domain.tariff import (
    PriceComponent,
    PriceLimit,
    Tariff,
)
from cpo.domain.tokens import Token
from cpo.domain.transaction import Snapshot
from cpo.errors import Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import (
    DEFAULT,
    NOT_AVAILABLE,
    Quirks,
    Rendered,
)
from cpo.ocpi.places import coordinates
from cpo.ocpi.rendering import (
    Volumes,
    Write,
    compact,
    encoding_method,
    instant_writer,
    negated,
    net_price,
    problems_in,
    rendered,
    restrictions_document,
    rounded,
    shortened,
    signed_values,
    volumes,
)
from cpo.ocpi.v221.vocabulary import Chapter
from cpo.ocpi.v221.wire import SignedData


class Charges(Chapter):
    """What a charge comes to, and what it costs."""

    def session(self, session: Session, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a session whole."""
        write = instant_writer(quirks.date_style)
        measured = volumes(session.periods, session.energy_wh)
        snapshot = session.snapshot
        reserved = session.status is SessionStatus.RESERVATION
        document = compact(
            {
                "country_code": session.country_code,
                "party_id": session.party_id,
                "id": session.id,
                "start_date_time": write(session.start_date_time),
                "end_date_time": session.end_date_time and write(session.end_date_time),
                "cdr_token": session.token and self._cdr_token(session.token),
                "authorization_reference": session.authorization_reference,
                "location_id": snapshot and snapshot.location.id,
                "evse_uid": snapshot and _or_not_available(snapshot.evse_uid, reserved),
                "connector_id": snapshot and _or_not_available(snapshot.connector_id, reserved),
                "meter_id": session.meter_id,
                **self._changing(session, measured, quirks, write),
            }
        )
        # An empty list is meant here: a PUT without it would leave the old periods in doubt.
        document["charging_periods"] = self._periods(measured, write)
        if session.soc_percent is not None and measured.periods:
            # The battery's word is for who follows a session, and no part of a CDR (SES-11).
            soc = {"type": "STATE_OF_CHARGE", "volume": exact_json.number(session.soc_percent)}
            document["charging_periods"][-1]["dimensions"].append(soc)
        return rendered(self._words.session, document)

    def session_patch(self, session: Session, quirks: Quirks = DEFAULT) -> Rendered:
        """Render the PATCH body of a running session: all that changes, but no periods (SES-7)."""
        write = instant_writer(quirks.date_style)
        measured = volumes(session.periods, session.energy_wh)
        document = compact(
            {
                "end_date_time": session.end_date_time and write(session.end_date_time),
                **self._changing(session, measured, quirks, write),
            }
        )
        return rendered(self._words.session, document, partial=True)

    def _changing(
        self, session: Session, measured: Volumes, quirks: Quirks, write: Write
    ) -> dict[str, Any]:
        # Absent does not mean free (SES-15): without a tariff nobody knows the cost yet.
        priced = session.snapshot is not None and session.snapshot.tariff is not None
        cost = session.cost if priced else None
        return {
            "kwh": measured.kwh,
            "auth_method": str(session.auth_method),
            "currency": session.currency,
            "total_cost": cost and self._price(rounded(cost, session.currency, quirks).total),
            "status": str(session.status),
            "last_updated": session.last_updated and write(session.last_updated),
        }

    def cdr(self, cdr: Cdr, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a CDR; in a credit CDR the total alone is negative (CDR-6)."""
        write = instant_writer(quirks.date_style)
        left_out: list[str] = []
        measured = volumes(cdr.periods, cdr.energy_wh)
        parts = rounded(cdr.cost, cdr.currency, quirks)
        document = compact(
            {
                "country_code": cdr.country_code,
                "party_id": cdr.party_id,
                "id": cdr.id,
                "start_date_time": write(cdr.start_date_time),
                "end_date_time": write(cdr.end_date_time),
                "session_id": cdr.session_id or None,
                "cdr_token": self._cdr_token(cdr.token),
                "auth_method": str(cdr.auth_method),
                "authorization_reference": cdr.authorization_reference,
                "cdr_location": self._cdr_location(cdr.snapshot, measured, left_out),
                "meter_id": cdr.meter_id,
                "currency": cdr.currency,
                "tariffs": self._cdr_tariffs(cdr, write, left_out),
                "charging_periods": self._periods(measured, write),
                "signed_data": _signed_data(cdr, left_out),
                "total_cost": self._price(negated(parts.total) if cdr.credit else parts.total),
                "total_fixed_cost": self._price(parts.fixed),
                "total_energy": measured.kwh,
                "total_energy_cost": self._price(parts.energy),
                "total_time": measured.hours,
                "total_time_cost": self._price(parts.time),
                "total_parking_time": measured.parking_hours or None,
                "total_parking_cost": self._price(parts.parking),
                "total_reservation_cost": self._price(parts.reservation),
                "remark": shortened(cdr.remark, 255),
                "credit": cdr.credit or None,
                "credit_reference_id": cdr.credit_reference_id,
                "home_charging_compensation": cdr.home_charging_compensation,
                "last_updated": cdr.last_updated and write(cdr.last_updated),
            }
        )
        return rendered(self._words.cdr, document, left_out)

    def _cdr_tariffs(self, cdr: Cdr, write: Write, left_out: list[str]) -> list[dict[str, Any]]:
        documents = []
        for tariff in cdr.snapshot.tariffs:
            document, problems = self._tariff_document(tariff, write)
            problems = [*problems, *problems_in(self._words.tariff, document)]
            if problems:
                # Optional here: the amounts stand in the CDR itself, and it must be billed.
                left_out.append(f"tariffs ({problems[0]})")
                continue
            documents.append(document)
        return documents

    def _cdr_location(
        self, snapshot: Snapshot, measured: Volumes, left_out: list[str]
    ) -> dict[str, Any]:
        location = snapshot.location
        # Only a reservation that was never used may have no EVSE (CDR-12).
        unused = all(period.reserved_s for period, _ in measured.periods)
        evse = _find(location.evses, "uid", snapshot.evse_uid)
        connectors = (evse or location.evses[0]).connectors if location.evses else ()
        connector = _find(connectors, "id", snapshot.connector_id)
        any_connector = connector or (connectors[0] if connectors else None)
        address, state = shortened(location.address, 45), shortened(location.state, 20)
        if address != location.address:
            left_out.append("cdr_location.address (shortened)")
        if state != location.state:
            left_out.append("cdr_location.state (shortened)")
        return compact(
            {
                "id": location.id,
                "name": location.name,
                "address": address,
                "city": location.city,
                "postal_code": location.postal_code,
                "state": state,
                "country": location.country,
                "coordinates": coordinates(location),
                "evse_uid": _or_not_available(evse.uid if evse else None, unused),
                "evse_id": _or_not_available(evse.evse_id if evse else None, unused),
                "connector_id": _or_not_available(connector.id if connector else None, unused),
                "connector_standard": any_connector and any_connector.standard,
                "connector_format": any_connector and any_connector.format,
                "connector_power_type": any_connector and any_connector.power_type,
            }
        )

    def _cdr_token(self, token: Token) -> dict[str, Any]:
        return {
            "country_code": token.country_code.upper(),
            "party_id": token.party_id,
            "uid": token.uid,
            "type": token.type if token.type in self._words.token_types else "OTHER",
            "contract_id": token.contract_id,
        }

    def _periods(self, measured: Volumes, write: Write) -> list[dict[str, Any]]:
        return [
            compact(
                {
                    "start_date_time": write(period.started_at),
                    "dimensions": [
                        {"type": dimension, "volume": volume} for dimension, volume in dimensions
                    ],
                    "tariff_id": period.tariff_id,
                }
            )
            for period, dimensions in measured.periods
        ]

    def _price(self, price: Price | None) -> dict[str, Any] | None:
        """Render an amount; None stays None."""
        if price is None:
            return None
        return compact(
            {
                "excl_vat": _amount(price.before_taxes),
                "incl_vat": None if price.incl_vat is None else _amount(price.incl_vat),
            }
        )

    # --- tariffs ----------------------------------------------------------------------------------

    def tariff(self, tariff: Tariff, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a tariff."""
        document, problems = self._tariff_document(tariff, instant_writer(quirks.date_style))
        return rendered(self._words.tariff, document, problems=problems)

    def _tariff_document(
        self, tariff: Tariff, write: Write
    ) -> tuple[dict[str, Any], list[Invalid]]:
        problems: list[Invalid] = []
        elements = []
        for index, element in enumerate(tariff.elements):
            components = []
            for number, component in enumerate(element.components):
                price = self._component_price(tariff, component)
                if price is None:
                    at = f"elements[{index}].price_components[{number}]"
                    problems.append(Invalid(f"{at}.vat", "needed to tell the price without tax"))
                    price = component.price
                components.append(
                    compact(
                        {
                            "type": str(component.type),
                            "price": price,
                            "vat": component.vat,
                            "step_size": component.step_size,
                        }
                    )
                )
            elements.append(
                compact(
                    {
                        "price_components": components,
                        "restrictions": restrictions_document(element.restrictions) or None,
                    }
                )
            )
        document = self._tariff_frame(tariff, write)
        document["elements"] = elements
        return document, problems

    def _component_price(self, tariff: Tariff, component: PriceComponent) -> Decimal | None:
        """Return the price as this version states it, None where it cannot be known."""
        return net_price(tariff, component)

    def _tariff_frame(self, tariff: Tariff, write: Write) -> dict[str, Any]:
        """Render everything of a tariff but its elements."""
        return compact(
            {
                "country_code": tariff.country_code,
                "party_id": tariff.party_id,
                "id": tariff.id,
                "currency": tariff.currency,
                "type": tariff.type and str(tariff.type),
                "tariff_alt_text": [
                    {"language": text.language, "text": text.text} for text in tariff.alt_text
                ],
                "tariff_alt_url": tariff.alt_url,
                "min_price": self._limit(tariff.min_price),
                "max_price": self._limit(tariff.max_price),
                "start_date_time": tariff.valid_from and write(tariff.valid_from),
                "end_date_time": tariff.valid_until and write(tariff.valid_until),
                "energy_mix": tariff.energy_mix and dict(tariff.energy_mix),
                "last_updated": tariff.last_updated and write(tariff.last_updated),
            }
        )

    def _limit(self, limit: PriceLimit | None) -> dict[str, Any] | None:
        if limit is None:
            return None
        return compact(
            {
                "excl_vat": limit.excl_vat,
                "incl_vat": limit.incl_vat,
            }
        )


def _amount(value: Decimal) -> Decimal | int:
    return exact_json.number(value)


def _or_not_available(value: str | None, allowed: bool) -> str | None:
    """Return the value, or `#NA` where that may stand for it (TRANS-25)."""
    return value or (NOT_AVAILABLE if allowed else None)


def _find(items: Sequence[Any], name: str, wanted: str) -> Any:
    folded = (wanted or "").casefold()
    return next((item for item in items if getattr(item, name).casefold() == folded), None)


def _signed_data(cdr: Cdr, left_out: list[str]) -> dict[str, Any] | None:
    if not cdr.signed:
        return None
    document = compact(
        {
            "encoding_method": encoding_method(cdr.signed),
            "public_key": next((one.public_key for one in cdr.signed if one.public_key), None),
            "signed_values": signed_values(cdr.signed),
        }
    )
    problems = problems_in(SignedData, document)
    if problems:
        # Optional here: the energy stands in the CDR itself, and it must be billed.
        left_out.append(f"signed_data ({problems[0]})")
        return None
    return document
