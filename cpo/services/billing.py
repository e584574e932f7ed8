"""From a transaction to its Session, and once it has ended, to its CDR."""

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cpo.domain.cdr import Cdr
from cpo.domain.explanation import ExplainedLine, explain
from cpo.domain.ids import derived_id
from cpo.domain.location import Evse, Location
from cpo.domain.metering import EnergyCurve, last_soc
from cpo.domain.periods import Record
from cpo.domain.preferences import suits, tariff_type
from cpo.domain.pricing import Cost, price
from cpo.domain.quality import QualityRules, Reason, signed_check, signed_flags, verdict
from cpo.domain.running_cost import price_text
from cpo.domain.session import Session, SessionStatus, session_status
from cpo.domain.tariff import Tariff, TariffType, choose_tariff
from cpo.domain.tokens import AuthMethod, Token, Verdict
from cpo.domain.transaction import BATTERY_HIDDEN, Phase, Snapshot, Transaction, curve
from cpo.domain.usage import RESERVATION_KEY, usage
from cpo.domain.values import replace
from cpo.services.live_prices import LivePrices
from cpo.services.memory import Sites

if TYPE_CHECKING:
    from cpo.domain.meter_keys import MeterKey

LONGEST_CHARGE = timedelta(days=62)
PREFERENCES = "CHARGING_PREFERENCES_CAPABLE"
_PROFILES = {name: tariff_type(name) for name in ("CHEAP", "FAST", "GREEN")}


class Billing:
    """Makes Sessions and CDRs; the same code prices both (SES-16)."""

    def __init__(
        self,
        sites: Sites,
        *,
        secret: uuid.UUID,
        currencies: dict[tuple[str, str], str],
        rules: QualityRules,
        tariffs_seen: Callable[[str], Collection[str] | None] = lambda _: None,
    ) -> None:
        self._sites = sites
        self.secret = secret
        self._currencies = currencies
        self._tariffs_seen = tariffs_seen
        self._rules = rules
        self.live = LivePrices()
        self._cut: dict[tuple[str, str, str], tuple[Location, Location]] = {}
        self._last: tuple[Transaction, EnergyCurve, Record] | None = None

    def session_id(self, *parts: str) -> str:
        """Return the id that a transaction's Session will always have (D10)."""
        return derived_id(self.secret, "session", *parts)

    def snapshot(self, transaction: Transaction) -> Snapshot | None:
        """Fix location and tariff as they are at the start of a transaction (D11).

        Of the connector's tariffs, those that the token's partner may see and that are for the
        kind of payment or the profile it prefers by default; where none is for it, the first that
        is valid (TAR-5, TAR-6).
        """
        found = self._sites.outlet(
            transaction.station, transaction.evse_id, transaction.connector_id
        )
        if found is None:
            return None
        location, evse, connector_id = found
        tariff = self._tariff(transaction.token, transaction.started_at, evse, connector_id)
        party = (location.country_code, location.party_id)
        currency = tariff.currency if tariff else self._currencies.get(party, "EUR")
        return Snapshot(
            country_code=location.country_code,
            party_id=location.party_id,
            location=self._only(location, evse.uid, connector_id),
            evse_uid=evse.uid,
            connector_id=connector_id,
            tariff=tariff,
            currency=currency,
        )

    def _tariff(
        self, token: Token | None, at: datetime, evse: Evse, connector_id: str
    ) -> Tariff | None:
        tariffs = self._visible(token, self._sites.tariffs_of(evse, connector_id))
        profile = _default_profile(token, evse)
        if profile is not None:
            found = choose_tariff([t for t in tariffs if t.type is profile], at)
            if found is not None:
                return found
        ad_hoc = token is not None and token.type == "AD_HOC_USER"
        wanted = TariffType.AD_HOC_PAYMENT if ad_hoc else TariffType.REGULAR
        return choose_tariff(tariffs, at, wanted) or choose_tariff(tariffs, at)

    def offered(
        self, station: str, token: Token | None, at: datetime, *, evse_id: int | None = None
    ) -> list[tuple[Location, Evse, Tariff | None]]:
        """Return the tariff of each connector of a station, or of one EVSE, for a token."""
        return [
            (location, evse, self._tariff(token, at, evse, connector.id))
            for location, evse in self._sites.evses_of(station)
            if evse_id is None or evse.binding is None or evse.binding.evse_id in (None, evse_id)
            for connector in evse.connectors
        ]

    def price_text(
        self, station: str, token: Token | None, at: datetime, *, evse_id: int | None = None
    ) -> str | None:
        """Say what a charge that starts now at a station costs; None where its EVSEs differ."""
        language = str((token.details or {}).get("language") or "en") if token else "en"
        found = set()
        for location, _, tariff in self.offered(station, token, at, evse_id=evse_id):
            if tariff is None:
                return None
            found.add(price_text(tariff, ZoneInfo(location.time_zone), at, language=language))
        return found.pop() if len(found) == 1 else None

    def preferred(self, transaction: Transaction, profile_type: str, at: datetime) -> Tariff | None:
        """Return the connector's tariff for a profile type, None when the session cannot have one.

        Another profile than REGULAR needs a tariff of its own type (SES-18); REGULAR goes back to
        what the session began with, unless that was for a profile the token prefers by default.
        """
        snapshot = transaction.snapshot
        if snapshot is None or snapshot.tariff is None:
            return None
        regular = profile_type == "REGULAR"
        if regular and snapshot.tariff.type not in _PROFILES.values():
            return snapshot.tariff
        found = self._sites.outlet(
            transaction.station, transaction.evse_id, transaction.connector_id
        )
        if found is None:
            return None
        _, evse, connector_id = found
        wanted = tariff_type(profile_type)
        visible = self._visible(transaction.token, self._sites.tariffs_of(evse, connector_id))
        kinds = (wanted, None) if regular else (wanted,)
        fitting = [t for t in visible if t.type in kinds and suits(t, snapshot.tariff)]
        return choose_tariff(fitting, at, wanted)

    def _visible(self, token: Token | None, tariffs: list[Tariff]) -> list[Tariff]:
        """Return those tariffs that the token's partner may see."""
        if token is None or token.partner_id is None:
            return tariffs
        seen = self._tariffs_seen(token.partner_id)
        return [t for t in tariffs if seen is None or t.id in seen]

    def _only(self, location: Location, evse_uid: str, connector_id: str) -> Location:
        """Return `only(…)`, made once for each form of a location."""
        key = (location.id, evse_uid, connector_id)
        known = self._cut.get(key)
        if known is None or known[0] is not location:
            known = self._cut[key] = (location, only(location, evse_uid, connector_id))
        return known[1]

    def session(self, transaction: Transaction) -> Session | None:
        """Return the Session of a transaction as it is now, or None while nobody is concerned.

        A transaction at an EVSE without a Location, or before anyone identified, has none.
        """
        snapshot = transaction.snapshot
        if snapshot is None or transaction.verdict is None:
            return None
        status = session_status(transaction)
        accepted = transaction.verdict is Verdict.ACCEPTED and transaction.token is not None
        if not accepted and transaction.phase is Phase.ENDED:
            status = SessionStatus.INVALID
        # What has only just begun has no price yet; the first reading brings one.
        cost = None
        if transaction.phase is not Phase.ENDED and _has_gone_on(transaction):
            running = self.live.price(transaction, snapshot)
            energy_wh, noticed, cost = running.energy_wh, running.flags, running.cost
        else:
            if transaction.phase is Phase.ENDED:
                self.live.forget(transaction.id)
                energy, record = self._whole(transaction)
                cost = price(record, snapshot.price_tariff, ZoneInfo(snapshot.location.time_zone))
            else:
                energy = curve(transaction)
            energy_wh, noticed = energy.total_wh, energy.flags
        token = transaction.token
        return Session(
            id=transaction.id,
            country_code=snapshot.country_code,
            party_id=snapshot.party_id,
            partner_id=token.partner_id if token is not None and accepted else None,
            station=transaction.station,
            start_date_time=transaction.started_at,
            end_date_time=_ended_at(transaction),
            status=status,
            energy_wh=energy_wh,
            token=token,
            auth_method=transaction.auth_method or AuthMethod.WHITELIST,
            authorization_reference=transaction.authorization_reference,
            snapshot=snapshot,
            currency=snapshot.currency,
            soc_percent=None
            if BATTERY_HIDDEN in transaction.flags
            else last_soc(transaction.samples),
            periods=cost.periods if cost is not None else (),
            cost=cost.breakdown() if cost is not None else None,
            flags=transaction.flags | noticed | _missing_tariff(snapshot),
        )

    def _whole(self, transaction: Transaction) -> tuple[EnergyCurve, Record]:
        """Return an ended transaction's energy and record; its Session and its CDR both ask."""
        if self._last is None or self._last[0] is not transaction:
            energy = curve(transaction)
            ended_at = transaction.ended_at or transaction.received_at
            self._last = (transaction, energy, usage(transaction, energy, now=ended_at))
        return self._last[1:]

    def cost(
        self, transaction: Transaction, snapshot: Snapshot, energy: EnergyCurve, *, now: datetime
    ) -> Cost:
        """Price a transaction as it is now."""
        record = usage(transaction, energy, now=now)
        return price(record, snapshot.price_tariff, ZoneInfo(snapshot.location.time_zone))

    def lines(self, transaction: Transaction) -> tuple[ExplainedLine, ...]:
        """Return each line of a transaction's price with what it comes from."""
        snapshot = transaction.snapshot
        if snapshot is None:
            return ()
        cost = self.cost(
            transaction,
            snapshot,
            curve(transaction),
            now=transaction.ended_at or transaction.received_at,
        )
        return explain(cost)

    def doubts(self, transaction: Transaction, flags: Collection[str]) -> tuple[Reason, ...]:
        """Return what is doubtful about a transaction's record, in words."""
        snapshot = transaction.snapshot
        if snapshot is None:
            return ()
        _, record = self._whole(transaction)
        evses = snapshot.location.evses
        delivers = [connector.most_w for evse in evses for connector in evse.connectors]
        return verdict(
            record,
            flags,
            rules=self._rules,
            tariff=snapshot.price_tariff,
            zone=ZoneInfo(snapshot.location.time_zone),
            max_power_w=max(delivers, default=None),
        )

    def cdr(
        self, transaction: Transaction, session: Session, *, keys: Sequence["MeterKey"] = ()
    ) -> Cdr | None:
        """Make the CDR of an ended transaction, or None when nobody is to be billed (CDR-1).

        `keys` are those known of the station's meters; they matter where it has signed readings.
        """
        snapshot, token = transaction.snapshot, transaction.token
        if (
            transaction.phase is not Phase.ENDED
            or transaction.ended_at is None
            or snapshot is None
            or token is None
            or transaction.verdict is not Verdict.ACCEPTED
            or session.cost is None
        ):
            return None
        unused = transaction.phase is Phase.ENDED and transaction.key.startswith(RESERVATION_KEY)
        if unused and not session.cost.total.excl_vat and not session.cost.total.incl_vat:
            return None  # a reservation that costs nothing is no bill
        periods = session.periods
        parking = sum((p.parking_s for p in periods), Decimal(0))
        charging = sum((p.time_s for p in periods), Decimal(0))
        signed = tuple(s.signed for s in transaction.samples if s.signed is not None)
        check = signed_check(signed, session.energy_wh, keys=keys, evse_id=transaction.evse_id)
        flags = session.flags | signed_flags(check)
        if transaction.ended_at - transaction.started_at > LONGEST_CHARGE:
            flags |= {"clock_implausible"}
        doubts = self.doubts(transaction, flags)
        return Cdr(
            id=derived_id(self.secret, "cdr", transaction.id),
            session_id=transaction.id,
            country_code=snapshot.country_code,
            party_id=snapshot.party_id,
            partner_id=token.partner_id,
            start_date_time=transaction.reserved_from or transaction.started_at,
            end_date_time=_ended_at(transaction) or transaction.ended_at,
            token=token,
            auth_method=session.auth_method,
            authorization_reference=session.authorization_reference,
            snapshot=snapshot,
            currency=snapshot.currency,
            periods=periods,
            cost=session.cost,
            energy_wh=session.energy_wh,
            time_s=charging + parking,
            parking_s=parking,
            signed=signed,
            remark=_remark(session),
            home_charging_compensation=_compensated(snapshot, token) or None,
            flags=flags | {doubt.code for doubt in doubts},
            hold=tuple(sorted({doubt.code for doubt in doubts if doubt.holds})),
        )


def _default_profile(token: Token | None, evse: Evse) -> TariffType | None:
    """Return the type of tariff for the profile that a token prefers by default.

    It counts where preferences can be had at all (OCPI 2.2.1, mod_tokens).
    """
    if token is None or not token.details or PREFERENCES not in evse.capabilities:
        return None
    return _PROFILES.get(str(token.details.get("default_profile_type")))


def _missing_tariff(snapshot: Snapshot) -> frozenset[str]:
    """Say when the connector names tariffs that nobody entered: no price is not free (TAR-8)."""
    named = any(c.tariff_ids for e in snapshot.location.evses for c in e.connectors)
    return frozenset({"tariff_unknown"}) if named and snapshot.tariff is None else frozenset()


def _ended_at(transaction: Transaction) -> datetime | None:
    """Return when a transaction ended: never before it began, whatever was told (TX16-25)."""
    if transaction.ended_at is None:
        return None
    return max(transaction.ended_at, transaction.started_at)


def _has_gone_on(transaction: Transaction) -> bool:
    start = transaction.started_at
    if transaction.phase is Phase.RESERVED:
        return False
    return any(s.at > start for s in transaction.samples[-1:]) or any(
        at > start for at, _ in transaction.states[-1:]
    )


def _compensated(snapshot: Snapshot, token: Token) -> bool:
    """Tell whether a driver charged at home, and is owed the energy (CDR-15)."""
    contract = _folded(token.contract_id)
    owners = (owner for evse in snapshot.location.evses for owner in evse.home_charger_of)
    return any(_folded(owner) == contract for owner in owners)


def _folded(contract_id: str) -> str:
    """Return a contract id as it is compared: its dashes and its case say nothing."""
    return contract_id.replace("-", "").casefold()


def _remark(session: Session) -> str | None:
    if session.cost is not None and session.cost.price_limit is not None:
        return f"{session.cost.price_limit} of the tariff applied"
    return None


def only(location: Location, evse_uid: str, connector_id: str) -> Location:
    """Return a location with nothing but one EVSE and one of its connectors."""
    return replace(
        location,
        evses=tuple(
            replace(evse, connectors=tuple(c for c in evse.connectors if c.id == connector_id))
            for evse in location.evses
            if evse.uid == evse_uid
        ),
    )
