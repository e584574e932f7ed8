"""Locations, their EVSEs and connectors: what the operator enters and partners see.

The shape is that of OCPI 2.3.0, which holds all that older versions can say. What the system
computes with is typed; the rest is carried along as checked values in `details`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from cpo.domain.site_checks import LOCATION, OPERATOR_STATUSES
from cpo.errors import Invalid, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The hardware behind an EVSE. Nothing of it ever reaches a partner.

    Either `evse_id` is set (the OCPP 2.x evse id, for 1.6 the connectorId), or `connector_ids`:
    the 1.6 connectorId by OCPI connector id, for an EVSE that unites several 1.6 connectors.
    """

    station: str
    evse_id: int | None = None
    connector_ids: Mapping[str, int] = field(default_factory=dict)


PHASES: Final = {
    "AC_1_PHASE": 1,
    "AC_2_PHASE": 2,
    "AC_2_PHASE_SPLIT": 2,
    "AC_3_PHASE": 3,
    "DC": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A socket or cable of an EVSE. Volt (line to neutral for AC_3_PHASE), ampere, watt.

    `changed_at` is since when it is as it is, where that is known.
    """

    id: str
    standard: str
    format: str
    power_type: str
    max_voltage: int
    max_amperage: int
    max_electric_power: int | None = None
    tariff_ids: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    changed_at: datetime | None = None

    @property
    def phases(self) -> int:
        """How many phases it delivers."""
        return PHASES.get(self.power_type, 3)

    @property
    def most_w(self) -> Decimal:
        """What it delivers at most: volts times amperes, or less where that is said."""
        most = Decimal(self.max_voltage) * self.max_amperage * self.phases
        if self.max_electric_power is None:
            return most
        return min(most, Decimal(self.max_electric_power))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evse:
    """What charges one vehicle at a time.

    `operator_status` is the operator's word and beats the charger's: PLANNED, INOPERATIVE,
    BLOCKED or REMOVED. Without a binding the EVSE is planned. `home_charger_of` are the contracts
    of those who live there: what they charge is compensated (CDR-15).
    """

    uid: str
    evse_id: str | None = None
    binding: Binding | None = None
    operator_status: str | None = None
    home_charger_of: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    connectors: tuple[Connector, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    changed_at: datetime | None = None

    def connector(self, id: str) -> Connector:
        """Return the connector of that id, in which case does not count.

        Raises:
            NotFound: the EVSE has no such connector.
        """
        wanted = id.casefold()
        for connector in self.connectors:
            if connector.id.casefold() == wanted:
                return connector
        raise NotFound("connector", id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A site with its EVSEs; `latitude` and `longitude` are texts with 6 decimals."""

    id: str
    country_code: str
    party_id: str
    publish: bool
    publish_allowed_to: tuple[Mapping[str, str], ...] = ()
    name: str | None = None
    address: str
    city: str
    postal_code: str | None = None
    state: str | None = None
    country: str
    latitude: str
    longitude: str
    time_zone: str
    evses: tuple[Evse, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def evse(self, uid: str) -> Evse:
        """Return the EVSE of that uid, in which case does not count.

        Raises:
            NotFound: the location has no such EVSE.
        """
        wanted = uid.casefold()
        for evse in self.evses:
            if evse.uid.casefold() == wanted:
                return evse
        raise NotFound("EVSE", uid)

    def public_evse_id(self, evse: Evse) -> str | None:
        """Return the public id of an EVSE, None once another has taken it over (LOC-4)."""
        if evse.operator_status == "REMOVED" and evse.evse_id is not None:
            taken = evse.evse_id.casefold()
            for other in self.evses:
                if other.operator_status != "REMOVED" and (other.evse_id or "").casefold() == taken:
                    return None
        return evse.evse_id

    @property
    def stations(self) -> frozenset[str]:
        """The OCPP identities of the stations at this site."""
        return frozenset(evse.binding.station for evse in self.evses if evse.binding)


def parse_location(
    body: Mapping[str, Any],
    *,
    location_id: str | None = None,
    default_party: tuple[str, str] | None = None,
) -> Location:
    """Read a location as the operator enters it: an OCPI Location with its bindings to hardware.

    2.3.0 and 2.2.1 spelling; `last_updated` and unknown fields are ignored.

    Args:
        body: parsed JSON.
        location_id: the id of the URL; the one of the body may be missing, but not differ.
        default_party: country code and party id for a body that names none.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    if not isinstance(body, Mapping):
        raise Invalid("", "an object is expected")
    given = dict(body)
    if location_id is not None:
        _same_id(given, location_id)
    if default_party is not None and not (given.get("country_code") or given.get("party_id")):
        given["country_code"], given["party_id"] = default_party
    read = LOCATION(given, "")
    coordinates = read.pop("coordinates")
    location = Location(
        **{name: read.pop(name) for name in _TYPED if name in read},
        country_code=read.pop("country_code").upper(),
        party_id=read.pop("party_id").upper(),
        latitude=coordinates["latitude"],
        longitude=coordinates["longitude"],
        publish_allowed_to=tuple(read.pop("publish_allowed_to", ())),
        evses=tuple(_evse(evse) for evse in read.pop("evses", ())),
        details=read,
    )
    _check_together(location)
    return location


def location_document(location: Location) -> dict[str, Any]:
    """Write a location as the operator would enter it; `parse_location` reads it back unchanged."""
    document: dict[str, Any] = {
        "id": location.id,
        "country_code": location.country_code,
        "party_id": location.party_id,
        "publish": location.publish,
        "publish_allowed_to": [dict(token) for token in location.publish_allowed_to],
        "name": location.name,
        "address": location.address,
        "city": location.city,
        "postal_code": location.postal_code,
        "state": location.state,
        "country": location.country,
        "coordinates": {"latitude": location.latitude, "longitude": location.longitude},
        "time_zone": location.time_zone,
        **location.details,
        "evses": [_evse_document(evse) for evse in location.evses],
    }
    return _without_empty(document)


def dated(location: Location, before: Location | None, at: datetime) -> Location:
    """Note at each EVSE and connector since when its data are what they are (LOC-14)."""
    known = {} if before is None else {evse.uid: evse for evse in before.evses}
    evses = []
    for evse in location.evses:
        was = known.get(evse.uid)
        sockets = {} if was is None else {connector.id: connector for connector in was.connectors}
        connectors = tuple(_since(c, sockets.get(c.id), at) for c in evse.connectors)
        evses.append(_since(replace(evse, connectors=connectors), was, at))
    return replace(location, evses=tuple(evses))


Part = TypeVar("Part", Connector, Evse)


def _since(part: Part, before: Part | None, at: datetime) -> Part:
    if before is not None and replace(part, changed_at=before.changed_at) == before:
        return before
    return replace(part, changed_at=at)


_TYPED = (
    "id",
    "publish",
    "name",
    "address",
    "city",
    "postal_code",
    "state",
    "country",
    "time_zone",
)


def _evse(read: dict[str, Any]) -> Evse:
    status = read.pop("status", None)
    bound = read.pop("ocpp", None)
    return Evse(
        uid=read.pop("uid"),
        evse_id=read.pop("evse_id", None),
        binding=None if bound is None else Binding(**bound),
        operator_status=status if status in OPERATOR_STATUSES else None,
        home_charger_of=tuple(read.pop("home_charger_of", ())),
        capabilities=tuple(read.pop("capabilities", ())),
        connectors=tuple(_connector(connector) for connector in read.pop("connectors")),
        details=read,
    )


def _connector(read: dict[str, Any]) -> Connector:
    return Connector(
        id=read.pop("id"),
        standard=read.pop("standard"),
        format=read.pop("format"),
        power_type=read.pop("power_type"),
        max_voltage=read.pop("max_voltage"),
        max_amperage=read.pop("max_amperage"),
        max_electric_power=read.pop("max_electric_power", None),
        tariff_ids=tuple(read.pop("tariff_ids", ())),
        details=read,
    )


def _evse_document(evse: Evse) -> dict[str, Any]:
    return _without_empty(
        {
            "uid": evse.uid,
            "evse_id": evse.evse_id,
            "status": evse.operator_status,
            "ocpp": None if evse.binding is None else _binding_document(evse.binding),
            "home_charger_of": list(evse.home_charger_of),
            "capabilities": list(evse.capabilities),
            **evse.details,
            "connectors": [
                _without_empty(
                    {
                        "id": connector.id,
                        "standard": connector.standard,
                        "format": connector.format,
                        "power_type": connector.power_type,
                        "max_voltage": connector.max_voltage,
                        "max_amperage": connector.max_amperage,
                        "max_electric_power": connector.max_electric_power,
                        "tariff_ids": list(connector.tariff_ids),
                        **connector.details,
                    }
                )
                for connector in evse.connectors
            ],
        }
    )


def _binding_document(binding: Binding) -> dict[str, Any]:
    return _without_empty(
        {
            "station": binding.station,
            "evse_id": binding.evse_id,
            "connector_ids": dict(binding.connector_ids) or None,
        }
    )


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None and value != []}


def _same_id(given: dict[str, Any], location_id: str) -> None:
    inside = given.setdefault("id", location_id)
    if not isinstance(inside, str) or inside.casefold() != location_id.casefold():
        raise Invalid("id", "differs from the id in the URL")


def public_ids(evse: Evse) -> list[tuple[str, str]]:
    """Return the ids of an EVSE that partners and the public see, by field (SEC-04)."""
    ids = {
        "uid": evse.uid,
        "evse_id": evse.evse_id,
        "physical_reference": evse.details.get("physical_reference"),
    }
    return [(name, value) for name, value in ids.items() if value is not None]


def _check_together(location: Location) -> None:
    _unique("evses", "uid", (evse.uid for evse in location.evses))
    _unique(
        "evses",
        "evse_id",
        (evse.evse_id if evse.operator_status != "REMOVED" else None for evse in location.evses),
    )
    places = {place["id"].casefold() for place in location.details.get("parking_places", ())}
    identities = {station.casefold() for station in location.stations}
    taken: dict[tuple[str, int], str] = {}
    for index, evse in enumerate(location.evses):
        path = f"evses[{index}]"
        _unique(f"{path}.connectors", "id", (connector.id for connector in evse.connectors))
        for name, value in public_ids(evse):
            if value.casefold() in identities:
                # Whoever knows an identity may try to connect in the station's place.
                raise Invalid(f"{path}.{name}", "equal to the OCPP identity of a station")
        for number_, used in enumerate(evse.details.get("parking", ())):
            if used["parking_id"].casefold() not in places:
                raise Invalid(
                    f"{path}.parking[{number_}].parking_id", "no such place in parking_places"
                )
        if evse.binding is not None:
            _check_binding(evse, evse.binding, path, taken)


def _check_binding(
    evse: Evse, binding: Binding, path: str, taken: dict[tuple[str, int], str]
) -> None:
    if evse.evse_id is None and evse.operator_status != "REMOVED":
        raise Invalid(f"{path}.evse_id", "required where a charge can take place: a CDR names it")
    if binding.connector_ids:
        known = {connector.id for connector in evse.connectors}
        for connector_id in binding.connector_ids:
            if connector_id not in known:
                raise Invalid(
                    f"{path}.ocpp.connector_ids", f"no connector {connector_id!r} in this EVSE"
                )
        missing = known - set(binding.connector_ids)
        if missing:
            raise Invalid(f"{path}.ocpp.connector_ids", f"connector {min(missing)!r} is missing")
    if evse.operator_status == "REMOVED":
        return
    ids = [binding.evse_id] if binding.evse_id is not None else binding.connector_ids.values()
    for ocpp_id in ids:
        holder = taken.setdefault((binding.station, ocpp_id), path)
        if holder != path or list(ids).count(ocpp_id) > 1:
            raise Invalid(
                f"{path}.ocpp", f"{binding.station!r} number {ocpp_id} is bound in {holder} already"
            )


def _unique(path: str, name: str, values: Iterable[str | None]) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value is None:
            continue
        folded = value.casefold()
        if folded in seen:
            raise Invalid(f"{path}[{index}].{name}", f"{value!r} occurs twice")
        seen.add(folded)
