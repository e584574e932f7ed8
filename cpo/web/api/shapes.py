"""How the operator API shows what the domain holds."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from cpo.domain.cdr import Cdr
from cpo.domain.command import Command
from cpo.domain.location import location_document
from cpo.domain.partner import Partner
from cpo.domain.session import Session
from cpo.domain.station import EvseStatus
from cpo.domain.tariff import Tariff
from cpo.domain.tariff_document import tariff_document
from cpo.domain.tokens import Token
from cpo.domain.transaction import Transaction, curve
from cpo.services.memory import Sites, StationState
from cpo.services.ports import Audit, Delivery, DirtyMark, Frame, Orphan, StationDocument
from cpo.services.sites import LocationView

WH_PER_KWH = Decimal(1000)

_CHARGING = frozenset({"Charging", "SuspendedEV", "SuspendedEVSE"})
_frames: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


def kwh(energy_wh: Decimal) -> Decimal:
    """Return energy in kWh, exactly, without trailing zeros."""
    value = (energy_wh / WH_PER_KWH).normalize()
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value


def station(state: StationState, sites: Sites) -> dict[str, Any]:
    """Show a station with its connectors and EVSEs; never its password."""
    record, boot, link = state.record, state.record.boot, state.link
    return {
        "identity": record.identity,
        "online": state.online,
        "approval": record.approval,
        "version": link.version if link is not None else record.ocpp_version,
        "vendor": boot.vendor if boot else None,
        "model": boot.model if boot else None,
        "firmware": boot.firmware_version if boot else None,
        "serial_number": boot.serial_number if boot else None,
        "booted_at": record.booted_at,
        "last_seen": state.seen_at or record.last_seen_at,
        "ocpp_versions": record.ocpp_versions,
        "security_profile": record.security_profile,
        "allow_without_password": record.allow_without_password,
        "has_password": record.password_hash is not None,
        "rotating": record.previous_password_hash is not None,
        "habits": dict(record.settings or {}),
        "connectors": [
            {
                "evse_id": known.evse_id,
                "connector_id": known.connector_id,
                "status": known.availability,
                "activity": known.activity,
                "error_code": known.error_code,
                "vendor_error_code": known.vendor_error_code,
                "info": known.info,
                "at": known.at,
            }
            for _, known in sorted(state.connectors.items())
        ],
        "evses": [
            {
                "uid": evse.uid,
                "evse_id": evse.evse_id,
                "location": location.id,
                "ocpp_evse_id": evse.binding.evse_id if evse.binding else None,
                "status": sites.status(location.id, evse.uid),
            }
            for location, evse in sites.evses_of(record.identity)
        ],
        "topology_mismatch": [
            number
            for number in sorted(state.strange)
            if sites.outlet(record.identity, number, None) is None
        ],
        "charging_without_transaction": charging_alone(state),
        "transactions": [
            {"id": t.id, "key": t.key, "evse_id": t.evse_id, "since": t.started_at}
            for t in state.open_transactions()
        ],
        "clock_offset": record.clock_offset_s,
    }


def charging_alone(state: StationState) -> list[int]:
    """Return the EVSEs that say they charge, of which no transaction was told (ST-07)."""
    return sorted(
        {
            known.evse_id
            for known in state.connectors.values()
            if known.activity in _CHARGING and state.open_at(known.evse_id) is None
        }
    )


def location(view: LocationView) -> dict[str, Any]:
    """Show a location as OCPI does, with the bindings beside."""
    document: dict[str, Any] = location_document(view.location)
    for evse in document.get("evses", ()):
        evse["status"] = view.statuses.get(evse["uid"], EvseStatus.UNKNOWN)
        evse["last_updated"] = view.evse_last_updated.get(evse["uid"], view.last_updated)
    return document | {"last_updated": view.last_updated}


def tariff(value: Tariff, last_updated: datetime) -> dict[str, Any]:
    """Show a tariff as OCPI does."""
    return tariff_document(value) | {"last_updated": last_updated}


def token(value: Token) -> dict[str, Any]:
    """Show a token; `partner` is None for our own drivers'."""
    return {
        "uid": value.uid,
        "type": value.type,
        "contract_id": value.contract_id,
        "country_code": value.country_code,
        "party_id": value.party_id,
        "issuer": value.issuer,
        "valid": value.valid,
        "whitelist": value.whitelist,
        "group_id": value.group_id,
        "visual_number": value.visual_number,
        "expires_at": value.expires_at,
        "partner": value.partner_id,
        "last_updated": value.last_updated,
    }


def partner(value: Partner, sending: Mapping[str, Any]) -> dict[str, Any]:
    """Show a partner; never a token or its hash."""
    return {
        "id": value.id,
        "name": value.name,
        "status": value.status,
        "version": value.version,
        "versions_url": value.versions_url,
        "roles": [
            {
                "role": role.role,
                "country_code": role.country_code,
                "party_id": role.party_id,
                "name": role.name,
            }
            for role in value.roles
        ],
        "endpoints": [
            {"identifier": e.identifier, "role": e.role, "url": e.url} for e in value.endpoints
        ],
        "hub_party": value.hub_party,
        "quirks": value.quirks,
        "policy": value.policy,
        "last_error": value.last_error,
        "last_seen": value.last_seen_at,
        "registered_at": value.registered_at,
        "tokens_pulled_at": value.tokens_pulled_at,
        "token_pull": None
        if value.token_pull is None
        else {
            "started_at": value.token_pull.started_at,
            "since": value.token_pull.since,
            "count": value.token_pull.count,
            "total": value.token_pull.total,
        },
        "tokens_rotated_at": value.token_in_rotated_at,
        "sending": dict(sending),
    }


def mark(value: DirtyMark) -> dict[str, Any]:
    """Show what a partner has not got yet."""
    return {
        "kind": value.kind,
        "object": value.object_id,
        "since": value.since,
        "attempts": value.attempts,
        "next_attempt_at": value.next_attempt_at,
        "last_error": value.last_error,
        "parked": value.parked,
    }


def session(value: Session) -> dict[str, Any]:
    """Show a session."""
    return {
        "id": value.id,
        "status": value.status,
        "start_date_time": value.start_date_time,
        "end_date_time": value.end_date_time,
        "kwh": kwh(value.energy_wh),
        "currency": value.currency,
        "total_cost": _total(value),
        **_origin(value),
        "last_updated": value.last_updated,
    }


def cdr(value: Cdr) -> dict[str, Any]:
    """Show a CDR."""
    return {
        "id": value.id,
        "session_id": value.session_id,
        "start_date_time": value.start_date_time,
        "end_date_time": value.end_date_time,
        "kwh": kwh(value.energy_wh),
        "total_energy": kwh(value.energy_wh),
        "seconds": value.time_s,
        "parking_seconds": value.parking_s,
        "currency": value.currency,
        "total_cost": _total(value),
        **_origin(value),
        "credit": value.credit,
        "credit_reference_id": value.credit_reference_id,
        "hold": value.hold,
        "remark": value.remark,
        "last_updated": value.last_updated,
    }


def _total(value: Session | Cdr) -> dict[str, Any] | None:
    if value.cost is None:
        return None
    total = value.cost.total
    return {"excl_vat": total.excl_vat, "incl_vat": total.incl_vat}


def _origin(value: Session | Cdr) -> dict[str, Any]:
    snapshot, token_ = value.snapshot, value.token
    return {
        "country_code": value.country_code,
        "party_id": value.party_id,
        "partner": value.partner_id,
        "location": snapshot.location.id if snapshot else None,
        "evse_uid": snapshot.evse_uid if snapshot else None,
        "connector_id": snapshot.connector_id if snapshot else None,
        "tariff": snapshot.tariff.id if snapshot and snapshot.tariff else None,
        "token": {"uid": token_.uid, "type": token_.type, "contract_id": token_.contract_id}
        if token_
        else None,
        "auth_method": value.auth_method,
        "authorization_reference": value.authorization_reference,
        "flags": sorted(value.flags),
    }


def fate(partner_id: str, marks: Iterable[DirtyMark], delivery: Delivery | None) -> dict[str, Any]:
    """Show what became of an object at a partner: pending, parked, confirmed, or none."""
    pending = next(iter(marks), None)
    state = "none" if delivery is None else "confirmed"
    if pending is not None:
        state = "parked" if pending.parked else "pending"
    return {
        "partner": partner_id,
        "state": state,
        "confirmed_at": delivery.confirmed_at if delivery else None,
        "url": delivery.location if delivery else None,
        "attempts": pending.attempts if pending else 0,
        "last_error": pending.last_error if pending else None,
    }


def command(value: Command) -> dict[str, Any]:
    """Show a command and what came of it."""
    return {
        "id": value.id,
        "kind": value.kind,
        "station": value.station,
        "evse_uid": value.evse_uid,
        "state": value.state,
        "outcome": value.outcome,
        "detail": value.detail,
        "payload": value.payload,
        "requested_by": value.requested_by,
        "partner": value.partner_id,
        "session_id": value.session_id,
        "created_at": value.created_at,
        "deadline": value.deadline,
        "finished_at": value.finished_at,
    }


def frame(value: Frame) -> dict[str, Any]:
    """Show an exchange of the frame log: what was said in it, and the frames as they were."""
    return {
        "at": value.at,
        "direction": value.direction,
        "action": value.action,
        "message_id": value.message_id,
        "payload": _said(value.payload),
        "answer": _said(value.answer),
        "deviations": value.deviations,
        "frame": value.payload,
        "answer_frame": value.answer,
    }


def _said(text: str | None) -> Any:
    """Return the payload of a frame, or of an error what it says; None for what is no frame."""
    try:
        parts = _frames.decode(text or "")
    except (msgspec.DecodeError, RecursionError):
        return None
    match parts:
        case [2 | 6, _, _, payload, *_] | [3, _, payload, *_]:
            return payload
        case [4 | 5, _, code, description, *details]:
            return {
                "error": code,
                "description": description,
                "details": details[0] if details else {},
            }
    return None


def audit(value: Audit) -> dict[str, Any]:
    """Show an audit row."""
    return {
        "at": value.at,
        "actor": value.actor,
        "action": value.action,
        "subject": value.subject,
        "detail": value.detail,
    }


def unplaced(value: Transaction) -> dict[str, Any]:
    """Show a charge at an EVSE that no Location has."""
    return {
        "transaction": value.key,
        "evse_id": value.evse_id,
        "connector_id": value.connector_id,
        "started_at": value.started_at,
        "ended_at": value.ended_at,
        "kwh": kwh(curve(value).total_wh),
        "id_token": value.id_token.value if value.id_token is not None else None,
    }


def orphan(value: Orphan) -> dict[str, Any]:
    """Show a message that fits nothing we know."""
    return {
        "at": value.at,
        "station": value.station,
        "reason": value.reason,
        "action": value.action,
        "transaction": value.transaction,
        "payload": value.payload,
    }


def document(value: StationDocument) -> dict[str, Any]:
    """Show what a station told of itself."""
    return {
        "kind": value.kind,
        "key": value.key,
        "document": value.document,
        "at": value.at,
    }
