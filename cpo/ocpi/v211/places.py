"""Locations in the words of OCPI 2.1.1."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from cpo.domain.location import Connector, Location
from cpo.domain.transaction import Snapshot
from cpo.errors import Invalid
from cpo.ocpi import places
from cpo.ocpi.dialect import DEFAULT, Quirks, Rendered, Stamps
from cpo.ocpi.places import PlaceWords, Tariffs, View
from cpo.ocpi.rendering import Write, compact, shortened
from cpo.ocpi.v211 import wire, words

_LOCATION_TYPES = {"ALONG_MOTORWAY": "OTHER", "ON_DRIVEWAY": "OTHER"}


class Places(places.Places):
    """Where one can charge."""

    _places = PlaceWords(
        location=wire.Location,
        evse=wire.Evse,
        connector=wire.Connector,
        capabilities=words.CAPABILITIES,
        connector_types=words.CONNECTOR_TYPES,
        facilities=words.FACILITIES,
        parking_restrictions=words.PARKING_RESTRICTIONS,
        power_types=words.POWER_TYPES,
    )

    def location(
        self,
        location: Location,
        *,
        statuses: Mapping[str, str],
        stamps: Stamps,
        tariff_ids: Tariffs | None = None,
        quirks: Quirks = DEFAULT,
    ) -> Rendered:
        """Render a location with its EVSEs.

        One that is not public is a problem: this version cannot say so (LOC-15).
        """
        rendered = super().location(
            location, statuses=statuses, stamps=stamps, tariff_ids=tariff_ids, quirks=quirks
        )
        if location.publish:
            return rendered
        hidden = Invalid("publish", "false, which 2.1.1 cannot say: it would be shown to all")
        return replace(rendered, problems=(hidden, *rendered.problems))

    def _location_fields(self, location: Location, left_out: list[str]) -> dict[str, Any]:
        address = shortened(location.address, 45)
        if address != location.address:
            left_out.append("address (shortened)")
        if location.state:
            left_out.append("state")
        parking_type = location.details.get("parking_type", "UNKNOWN")
        if "parking_type" in left_out:  # it is said by `type`
            left_out.remove("parking_type")
        return {
            "id": location.id,
            "type": _LOCATION_TYPES.get(parking_type, parking_type),
            "address": address,
        }

    def _location_details(self, details: dict[str, Any]) -> dict[str, Any]:
        if "energy_mix" in details:
            details["energy_mix"] = energy_mix(details["energy_mix"])
        if "opening_times" in details:
            details["opening_times"] = _hours(details["opening_times"])
        return details

    def _connector_fields(
        self, connector: Connector, tariff_ids: Sequence[str], prefix: str, left_out: list[str]
    ) -> dict[str, Any]:
        if len(tariff_ids) > 1:
            left_out.append(f"{prefix}tariff_ids (all but the first)")
        return {
            "voltage": connector.max_voltage,
            "amperage": connector.max_amperage,
            "tariff_id": tariff_ids[0] if tariff_ids else None,
        }

    def _embedded_location(
        self, snapshot: Snapshot | None, at: datetime, status: str, write: Write
    ) -> dict[str, Any] | None:
        """Render where a charge takes place: only its EVSE and connector (SES-12, CDR-18)."""
        if snapshot is None:
            return None
        view = View({snapshot.evse_uid: status}, Stamps(location=at), {}, write, [])
        document = self._location_document(snapshot.location, view)
        uid, connector_id = snapshot.evse_uid.casefold(), snapshot.connector_id.casefold()
        document["evses"] = [
            {
                **evse,
                "connectors": [
                    connector
                    for connector in evse["connectors"]
                    if connector["id"].casefold() == connector_id
                ],
            }
            for evse in document.get("evses", ())
            if evse["uid"].casefold() == uid
        ]
        return compact(document)


def energy_mix(mix: Mapping[str, Any]) -> dict[str, Any]:
    """Spell an environmental impact as this version does (LOC-48)."""
    return compact(
        {
            **mix,
            "environ_impact": [
                {"source": impact["category"], "amount": impact["amount"]}
                for impact in mix.get("environ_impact", ())
            ],
        }
    )


def _hours(hours: Mapping[str, Any]) -> dict[str, Any]:
    """Say either always or when, never both (LOC-45)."""
    other = "regular_hours" if hours["twentyfourseven"] else "twentyfourseven"
    return {name: value for name, value in hours.items() if name != other}
