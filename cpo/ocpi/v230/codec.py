"""The domain in the words of OCPI 2.3.0: what it says differently from 2.2.1."""

from decimal import Decimal
from typing import Any

from cpo.domain.pricing import Price
from cpo.domain.tariff import PriceComponent, PriceLimit, Tariff, TaxIncluded
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Credentials
from cpo.ocpi.places import PlaceWords
from cpo.ocpi.rendering import Write, compact, message
from cpo.ocpi.v221 import codec as v221
from cpo.ocpi.v221 import words as words221
from cpo.ocpi.v221.parties import party_role
from cpo.ocpi.v221.vocabulary import Vocabulary
from cpo.ocpi.v230 import wire, words

# The domain knows rates, not the names of taxes.
_TAX_NAME = "VAT"


class Codec(v221.Codec):
    """See `cpo.ocpi.dialect.Codec`."""

    version = "2.3.0"
    _words = Vocabulary(
        session=wire.Session,
        cdr=wire.Cdr,
        tariff=wire.Tariff,
        token=wire.Token,
        start_session=wire.StartSession,
        reserve_now=wire.ReserveNow,
        client_info=wire.ClientInfo,
        token_types=words.TOKEN_TYPES,
    )
    _places = PlaceWords(
        location=wire.Location,
        evse=wire.Evse,
        connector=wire.Connector,
        capabilities=words221.CAPABILITIES,
        connector_types=words.CONNECTOR_TYPES,
        facilities=words221.FACILITIES,
        parking_restrictions=words.PARKING_RESTRICTIONS,
        power_types=words221.POWER_TYPES,
    )

    def _price(self, price: Price | None) -> dict[str, Any] | None:
        """Render an amount with one tax for each rate; without a known rate there is none."""
        if price is None:
            return None
        net, gross = price.before_taxes, price.incl_vat
        taxes = [
            {
                "name": _TAX_NAME,
                "percentage": exact_json.number(tax.rate),
                "amount": exact_json.number(tax.amount),
            }
            for tax in price.taxes
        ]
        if gross is not None and sum(tax.amount for tax in price.taxes) != gross - net:
            # A price limit cut in, so that no rate explains the difference any more.
            taxes = [{"name": _TAX_NAME, "amount": exact_json.number(gross - net)}]
        return compact({"before_taxes": exact_json.number(net), "taxes": taxes})

    def _limit(self, limit: PriceLimit | None) -> dict[str, Any] | None:
        if limit is None:
            return None
        return compact(
            {
                "before_taxes": limit.excl_vat,
                "after_taxes": limit.incl_vat,
            }
        )

    def _component_price(self, tariff: Tariff, component: PriceComponent) -> Decimal | None:
        """Return the price as the operator stated it: `tax_included` says what it means."""
        return component.price

    def _tariff_frame(self, tariff: Tariff, write: Write) -> dict[str, Any]:
        document = super()._tariff_frame(tariff, write)
        document["tax_included"] = str(_tax_included(tariff))
        return document

    def write_credentials(self, credentials: Credentials) -> bytes:
        """Write credentials of ours; raises Invalid when the settings made them impossible."""
        document = self._credentials_document(credentials)
        document["hub_party_id"] = credentials.hub_party
        return message(wire.Credentials, compact(document))

    def read_credentials(self, data: Any) -> Credentials:
        """Read a partner's credentials.

        A role HUB, which a platform of 2.2.1 may still send, is read as the hub's party (CRED-13).
        """
        if isinstance(data, dict) and isinstance(data.get("roles"), list):
            hubs = [
                f"{role.get('country_code')}{role.get('party_id')}"
                for role in data["roles"]
                if isinstance(role, dict) and role.get("role") == "HUB"
            ]
            if hubs:
                old = super().read_credentials(data)
                return Credentials(
                    token=old.token,
                    url=old.url,
                    roles=old.roles,
                    hub_party=data.get("hub_party_id") or old.hub_party,
                )
        read = wire.Credentials.read(data)
        return Credentials(
            token=read.token,
            url=read.url,
            roles=tuple(party_role(role) for role in read.roles),
            hub_party=read.hub_party_id or None,
        )


CODEC = Codec()


def _tax_included(tariff: Tariff) -> TaxIncluded:
    """Say N/A where neither the tariff nor any of its prices speaks of tax (section 19)."""
    if not tariff.tax_stated and not any(
        component.vat is not None for element in tariff.elements for component in element.components
    ):
        return TaxIncluded.NOT_APPLICABLE
    return tariff.tax_included
