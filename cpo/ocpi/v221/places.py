"""Locations in the words of OCPI 2.2.1."""

from collections.abc import Sequence
from typing import Any

from cpo.domain.location import Connector, Location
from cpo.ocpi import places
from cpo.ocpi.places import PlaceWords
from cpo.ocpi.v221 import wire, words
from cpo.ocpi.v221.vocabulary import Chapter


class Places(places.Places, Chapter):
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

    def _location_fields(self, location: Location, left_out: list[str]) -> dict[str, Any]:
        return {
            "country_code": location.country_code,
            "party_id": location.party_id,
            "id": location.id,
            "publish": location.publish,
            "publish_allowed_to": [
                dict(token)
                for token in location.publish_allowed_to
                if token.get("type", "RFID") in self._words.token_types
            ],
            "address": location.address,
            "state": location.state,
        }

    def _connector_fields(
        self, connector: Connector, tariff_ids: Sequence[str], prefix: str, left_out: list[str]
    ) -> dict[str, Any]:
        return {
            "max_voltage": connector.max_voltage,
            "max_amperage": connector.max_amperage,
            "max_electric_power": connector.max_electric_power,
            "tariff_ids": list(tariff_ids),
        }
