"""Locations, EVSEs and connectors: what rendering them has in common in all versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cpo.domain.location import Connector, Evse, Location
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import DEFAULT, Quirks, Rendered, Stamps
from cpo.ocpi.fields import Wire, field_names
from cpo.ocpi.rendering import Write, compact, instant_writer, rendered

Tariffs = Mapping[tuple[str, str], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceWords:
    """The models and word lists of a version that places need."""

    location: type[Wire]
    evse: type[Wire]
    connector: type[Wire]
    capabilities: frozenset[str]
    connector_types: frozenset[str]
    facilities: frozenset[str]
    parking_restrictions: frozenset[str]
    power_types: frozenset[str]


@dataclass(frozen=True, slots=True)
class View:
    """How one partner sees a location now, and what could not be said of it so far."""

    statuses: Mapping[str, str]
    stamps: Stamps
    tariff_ids: Tariffs
    write: Write
    left_out: list[str]


class Places:
    """Renders locations; a version says how its fields are called."""

    _places: PlaceWords

    def location(
        self,
        location: Location,
        *,
        statuses: Mapping[str, str],
        stamps: Stamps,
        tariff_ids: Tariffs | None = None,
        quirks: Quirks = DEFAULT,
    ) -> Rendered:
        """Render a location with its EVSEs."""
        view = View(statuses, stamps, tariff_ids or {}, instant_writer(quirks.date_style), [])
        document = self._location_document(location, view)
        return rendered(self._places.location, document, view.left_out)

    def evse(
        self,
        location: Location,
        uid: str,
        *,
        statuses: Mapping[str, str],
        stamps: Stamps,
        tariff_ids: Tariffs | None = None,
        quirks: Quirks = DEFAULT,
    ) -> Rendered:
        """Render one EVSE of a location; raises NotFound."""
        view = View(statuses, stamps, tariff_ids or {}, instant_writer(quirks.date_style), [])
        document = self._evse_document(location, location.evse(uid), "", view)
        return rendered(self._places.evse, document, view.left_out)

    def connector(
        self,
        location: Location,
        uid: str,
        connector_id: str,
        *,
        stamps: Stamps,
        tariff_ids: Tariffs | None = None,
        quirks: Quirks = DEFAULT,
    ) -> Rendered:
        """Render one connector of a location; raises NotFound."""
        evse = location.evse(uid)
        view = View({}, stamps, tariff_ids or {}, instant_writer(quirks.date_style), [])
        document = self._connector_document(evse, evse.connector(connector_id), "", view)
        return rendered(self._places.connector, document, view.left_out)

    def evse_status(self, status: str, last_updated: datetime, quirks: Quirks = DEFAULT) -> bytes:
        """Write the PATCH body of an EVSE whose status changed (LOC-31)."""
        write = instant_writer(quirks.date_style)
        return exact_json.encode_document(
            {"status": str(status), "last_updated": write(last_updated)}
        )

    def _location_fields(self, location: Location, left_out: list[str]) -> dict[str, Any]:
        """Return what a version calls its own way, to be put before the rest."""
        raise NotImplementedError

    def _connector_fields(
        self, connector: Connector, tariff_ids: Sequence[str], prefix: str, left_out: list[str]
    ) -> dict[str, Any]:
        """Return what a version calls its own way."""
        raise NotImplementedError

    def _location_details(self, details: dict[str, Any]) -> dict[str, Any]:
        """Return the details in the version's spelling."""
        return details

    def _location_document(self, location: Location, view: View) -> dict[str, Any]:
        words = self._places
        evses = []
        for index, evse in enumerate(location.evses):
            document = self._evse_document(location, evse, f"evses[{index}]", view)
            if document["connectors"]:
                evses.append(document)
            else:
                view.left_out.append(f"evses[{index}]")
        details = _known(location.details, words.location, "", view.left_out)
        if "facilities" in details:
            details["facilities"] = _only(details["facilities"], words.facilities)
        return compact(
            {
                **self._location_fields(location, view.left_out),
                "name": location.name,
                "city": location.city,
                "postal_code": location.postal_code,
                "country": location.country,
                "coordinates": coordinates(location),
                "time_zone": location.time_zone,
                **self._location_details(details),
                "evses": evses,
                "last_updated": view.write(view.stamps.location),
            }
        )

    def _evse_document(
        self, location: Location, evse: Evse, path: str, view: View
    ) -> dict[str, Any]:
        words = self._places
        prefix = f"{path}." if path else ""
        connectors = []
        for index, connector in enumerate(evse.connectors):
            at = f"{prefix}connectors[{index}]"
            unknown = {connector.standard} - words.connector_types or (
                {connector.power_type} - words.power_types
            )
            if unknown:
                # No neutral word exists, and an unknown one must not reach the partner (LOC-47).
                view.left_out.append(f"{at} ({unknown.pop()})")
            else:
                connectors.append(self._connector_document(evse, connector, f"{at}.", view))
        details = _known(evse.details, words.evse, prefix, view.left_out)
        if "parking_restrictions" in details:
            details["parking_restrictions"] = _only(
                details["parking_restrictions"], words.parking_restrictions
            )
        document = compact(
            {
                "uid": evse.uid,
                "evse_id": location.public_evse_id(evse),
                "status": str(view.statuses.get(evse.uid, "UNKNOWN")),
                "capabilities": _only(evse.capabilities, words.capabilities),
                **details,
                "last_updated": view.write(view.stamps.evse(evse.uid)),
            }
        )
        document["connectors"] = connectors
        return document

    def _connector_document(
        self, evse: Evse, connector: Connector, prefix: str, view: View
    ) -> dict[str, Any]:
        key = (evse.uid, connector.id)
        tariff_ids = view.tariff_ids.get(key, connector.tariff_ids)
        return compact(
            {
                "id": connector.id,
                "standard": connector.standard,
                "format": connector.format,
                "power_type": connector.power_type,
                **self._connector_fields(connector, tariff_ids, prefix, view.left_out),
                **_known(connector.details, self._places.connector, prefix, view.left_out),
                "last_updated": view.write(view.stamps.connector(*key)),
            }
        )


def coordinates(location: Location) -> dict[str, str]:
    """Render where a location is."""
    return {"latitude": location.latitude, "longitude": location.longitude}


def _only(words: Sequence[str], known: frozenset[str]) -> list[str]:
    return [word for word in words if word in known]


def _known(
    details: Mapping[str, Any], model: type[Wire], prefix: str, left_out: list[str]
) -> dict[str, Any]:
    """Return the details that a version has; the others are noted."""
    names = field_names(model)
    left_out.extend(f"{prefix}{name}" for name in details if name not in names)
    return {name: value for name, value in details.items() if name in names}
