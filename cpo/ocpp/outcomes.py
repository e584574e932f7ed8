"""What the answers to our calls tell of a station, and what of them must not be logged."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from cpo.domain.urls import MASK as _MASK
from cpo.domain.urls import without_secrets
from cpo.errors import Invalid
from cpo.services.authority import describe
from cpo.services.equipment import SECRET_VARIABLES, Equipment
from cpo.services.ports import Work

_JOBS: Final = {
    "UpdateFirmware": "firmware-job",
    "SignedUpdateFirmware": "firmware-job",
    "PublishFirmware": "publish-firmware-job",
    "GetLog": "log-job",
    "GetDiagnostics": "log-job",
}
KEPT: Final = frozenset(_JOBS) | {
    "GetConfiguration",
    "ChangeConfiguration",
    "GetVariables",
    "SetVariables",
    "GetInstalledCertificateIds",
    "InstallCertificate",
    "DeleteCertificate",
    "CustomerInformation",
    "SetVariableMonitoring",
    "ClearVariableMonitoring",
    "SetChargingProfile",
    "ClearChargingProfile",
    "RemoteStartTransaction",
    "RequestStartTransaction",
    "UsePriorityCharging",
    "SetDERControl",
    "ClearDERControl",
    "SetDefaultTariff",
    "GetTariffs",
    "ClearTariffs",
}
"""The calls of ours whose answers change what is known of the station."""

REPORTS: Final = {
    "GetBaseReport": "report",
    "GetReport": "report",
    "GetMonitoringReport": "monitoring-report",
    "CustomerInformation": "customer-information",
    "GetDisplayMessages": "display-messages",
    "GetChargingProfiles": "charging-profiles",
    "GetDERControl": "der-report",
}
"""The calls of ours that are followed by a report in parts, and as what it is gathered."""

INVENTORY_16: Final = ("report", "GetConfiguration")
"""Kind and key of the document that says that a station told all its configuration keys."""

# One-time URLs (FW-05), and passwords on their way to a station (SEC-13).
_URL_PASS: Final = re.compile(r"(/transfer/)[A-Za-z0-9_-]{43}")
_SECRET_TEXT: Final = re.compile(
    r'("(?:key|name)":\s*"(?:AuthorizationKey|BasicAuthPassword)")(.*?)'
    r'("(?:value|attributeValue)":\s*")((?:[^"\\]|\\.)*)(")',
    re.IGNORECASE | re.DOTALL,
)
_SECRET_TEXT_REVERSED: Final = re.compile(
    r'("(?:value|attributeValue)":\s*")((?:[^"\\]|\\.)*)("[^{}\[\]]*'
    r"(?:\{[^{}]*\},?[^{}\[\]]*)?"
    r'"(?:key|name)":\s*"(?:AuthorizationKey|BasicAuthPassword)")',
    re.IGNORECASE | re.DOTALL,
)


def new_password(action: str, request: Mapping[str, Any]) -> str | None:
    """Return the password that a call gives the station, if it is such a call."""
    if action == "ChangeConfiguration" and request["key"].lower() in SECRET_VARIABLES:
        return str(request["value"])
    if action == "SetVariables":
        for wanted in request["setVariableData"]:
            if wanted["variable"]["name"].lower() in SECRET_VARIABLES:
                return str(wanted["attributeValue"])
    return None


def new_profile(action: str, request: Mapping[str, Any]) -> int | None:
    """Return the security profile that a call tells the station to use, if it is such a call."""
    if action == "ChangeConfiguration" and request["key"].lower() == "securityprofile":
        text = str(request["value"])
        return int(text) if text.isdecimal() else None
    if action == "SetNetworkProfile":
        profile = request["connectionData"].get("securityProfile")
        return int(profile) if profile is not None else None
    return None


def password_refused(action: str, answer: Mapping[str, Any]) -> bool:
    """Tell whether the station said that it keeps its old password."""
    if action == "ChangeConfiguration":
        return answer.get("status") not in ("Accepted", "RebootRequired", None)
    return any(
        result["variable"]["name"].lower() in SECRET_VARIABLES
        and result.get("attributeStatus") not in ("Accepted", "RebootRequired")
        for result in answer.get("setVariableResult") or ()
    )


def masked(text: str | None) -> Any:
    """Return the text of a frame with its secrets starred out."""
    if text is None:
        return None
    text = without_secrets(text)
    if "/transfer/" in text:
        text = _URL_PASS.sub(rf"\1{_MASK}", text)
    lowered = text.lower()
    if any(name in lowered for name in SECRET_VARIABLES):
        text = _SECRET_TEXT.sub(rf"\1\2\3{_MASK}\5", text)
        text = _SECRET_TEXT_REVERSED.sub(rf"\1{_MASK}\3", text)
    return text


def without_customers(action: str, text: str) -> str:
    """Return the text of a frame, or of a payload, without what it says of a customer (SEC-21).

    It stays with the job that asked for it, where it can be cleared.
    """
    private = _PRIVATE.get(action)
    if private is None:
        # Passwords are write-only, which not every station knows (SEC-13).
        return str(masked(text)) if action == "NotifyReport" else text
    try:
        told = json.loads(text)
    except ValueError:
        return _MASK
    payload = told[3] if isinstance(told, list) and len(told) > 3 else told
    if isinstance(payload, dict):
        payload.update({name: _MASK for name in private if name in payload})
    return json.dumps(told, ensure_ascii=False)


_PRIVATE: Final = {
    "NotifyCustomerInformation": ("data",),
    "CustomerInformation": ("customerIdentifier", "idToken", "customerCertificate"),
}


def _masked_deep(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _masked_deep(part) for name, part in value.items()}
    return masked(value) if isinstance(value, str) else value


async def keep(
    equipment: Equipment,
    work: Work,
    station: str,
    action: str,
    request: Mapping[str, Any],
    answer: Mapping[str, Any],
) -> None:
    """Keep what an answer tells."""
    at = equipment.now()
    if action in _JOBS:
        request = _masked_deep(request)
        equipment.job_requested(
            work, station, _JOBS[action], request.get("requestId"), request, answer, at=at
        )
    elif action == "GetConfiguration":
        equipment.variables(
            work,
            station,
            [_configuration_key(entry) for entry in answer.get("configurationKey") or ()],
            at=at,
        )
        if not request.get("key") and answer.get("configurationKey"):
            kind, key = INVENTORY_16
            equipment.keep(work, station, kind, key, {"complete": True}, at)
    elif action == "ChangeConfiguration":
        if answer.get("status") in ("Accepted", "RebootRequired"):
            key = str(request["key"])
            value = _shown(key, str(request["value"]))
            await equipment.attribute(
                work, station, _configuration_name(key), value, kind="Actual", at=at
            )
    elif action in ("GetVariables", "SetVariables"):
        await _keep_attributes(equipment, work, station, action, request, answer)
    elif action == "CustomerInformation":
        if request["clear"] and answer.get("status") == "Accepted":
            # What it told us of customers goes with what it forgets (N10).
            await equipment.forget(work, station, "customer-information")
    elif action in ("InstallCertificate", "DeleteCertificate"):
        if answer.get("status") == "Accepted":
            await _keep_installed(equipment, work, station, action, request)
    elif action == "GetInstalledCertificateIds":
        asked = request.get("certificateType")
        for known in await equipment.documents(station, "certificate"):
            if not asked or known.document.get("certificateType") in asked:
                work.delete(known)
        for chain in _certificates(answer, asked):
            hashes = chain["certificateHashData"]
            key = f"{hashes['issuerKeyHash']}|{hashes['serialNumber']}"
            equipment.keep(work, station, "certificate", key[:200], chain, at)
    else:
        await _keep_settings(equipment, work, station, action, request, answer)


async def _keep_installed(
    equipment: Equipment, work: Work, station: str, action: str, request: Mapping[str, Any]
) -> None:
    """Keep which certificates were installed, for their end has to be watched."""
    if action == "DeleteCertificate":
        serial = _number(request["certificateHashData"])
        await equipment.forget(work, station, "installed-certificate", f"{serial}|")
        for known in await equipment.documents(station, "certificate"):
            if _number(known.document["certificateHashData"]) == serial:
                work.delete(known)
        return
    described = describe(str(request["certificate"]))
    if described is not None:
        document = {"type": request["certificateType"], **described}
        key = f"{described['serial']}|{request['certificateType']}"
        equipment.keep(work, station, "installed-certificate", key, document, equipment.now())


async def _keep_attributes(
    equipment: Equipment,
    work: Work,
    station: str,
    action: str,
    request: Mapping[str, Any],
    answer: Mapping[str, Any],
) -> None:
    at = equipment.now()
    if action == "GetVariables":
        for result in answer.get("getVariableResult") or ():
            if result.get("attributeStatus") == "Accepted":
                value = _shown(result["variable"]["name"], result.get("attributeValue"))
                kind = result.get("attributeType", "Actual")
                await equipment.attribute(work, station, result, value, kind=kind, at=at)
        return
    results = answer.get("setVariableResult") or ()
    for wanted, result in zip(request["setVariableData"], results, strict=False):
        if result.get("attributeStatus") in ("Accepted", "RebootRequired"):
            value = _shown(wanted["variable"]["name"], wanted["attributeValue"])
            kind = wanted.get("attributeType", "Actual")
            await equipment.attribute(work, station, wanted, value, kind=kind, at=at)


async def _keep_settings(
    equipment: Equipment,
    work: Work,
    station: str,
    action: str,
    request: Mapping[str, Any],
    answer: Mapping[str, Any],
) -> None:
    at = equipment.now()
    if action == "SetVariableMonitoring":
        for wanted, result in zip(
            request["setMonitoringData"], answer.get("setMonitoringResult") or (), strict=False
        ):
            if result.get("status") == "Accepted" and "id" in result:
                document = {**wanted, "id": result["id"]}
                equipment.keep(work, station, "monitor", str(result["id"]), document, at)
    elif action == "ClearVariableMonitoring":
        for result in answer.get("clearMonitoringResult") or ():
            if result.get("status") == "Accepted":
                equipment.forget_one(work, station, "monitor", str(result["id"]))
    elif action == "ClearTariffs":
        await _clear_tariffs(equipment, work, station, request, answer)
    elif action == "GetTariffs":
        await _tariffs(equipment, work, station, request, answer)
    elif answer.get("status") != "Accepted":
        return
    elif action in ("RemoteStartTransaction", "RequestStartTransaction"):
        if profile := request.get("chargingProfile"):
            key = str(profile.get("chargingProfileId", profile.get("id")))
            where = request.get("connectorId", request.get("evseId", 0))
            # Its transaction is not there yet; the limits tie it to the one that comes.
            document = {"evse_id": where, "profile": profile, "remote_start": True}
            equipment.keep(work, station, "charging-profile", key, document, at)
    elif action in _OF_21:
        await _OF_21[action](equipment, work, station, request, answer)
    elif action == "UsePriorityCharging":
        transaction = str(request["transactionId"])
        document = {"transactionId": transaction, "activated": request["activate"]}
        equipment.keep(work, station, "priority-charging", transaction, document, at)
    elif action == "SetChargingProfile":
        profile = request.get("csChargingProfiles") or request["chargingProfile"]
        where = request.get("connectorId", request.get("evseId", 0))
        key = str(profile.get("chargingProfileId", profile.get("id")))
        document = {"evse_id": where, "profile": profile}
        for other in await equipment.documents(station, "charging-profile"):
            if other.key != key and _same_place(other.document, document):
                work.delete(other)
        equipment.keep(work, station, "charging-profile", key, document, at)
    else:
        await _clear_profiles(equipment, work, station, request)


async def _set_der(
    equipment: Equipment, work: Work, station: str, request: Mapping[str, Any], _: Any
) -> None:
    key = str(request["controlId"])
    equipment.keep(work, station, "der-setting", key, dict(request), equipment.now())


async def _clear_der(
    equipment: Equipment, work: Work, station: str, request: Mapping[str, Any], _: Any
) -> None:
    for known in await equipment.documents(station, "der-setting"):
        if all(
            request.get(name) in (None, known.document.get(name))
            for name in ("isDefault", "controlType", "controlId")
        ):
            work.delete(known)


async def _set_tariff(
    equipment: Equipment, work: Work, station: str, request: Mapping[str, Any], _: Any
) -> None:
    # One default for each EVSE, 0 for all of them.
    key = str(request["evseId"])
    equipment.keep(work, station, "default-tariff", key, dict(request), equipment.now())


async def _tariffs(
    equipment: Equipment, work: Work, station: str, _: Any, answer: Mapping[str, Any]
) -> None:
    for known in await equipment.documents(station, "tariff-assignment"):
        work.delete(known)
    for one in answer.get("tariffAssignments") or ():
        key = f"{one['tariffKind']}|{one['tariffId']}"[:200]
        equipment.keep(work, station, "tariff-assignment", key, dict(one), equipment.now())


async def _clear_tariffs(
    equipment: Equipment, work: Work, station: str, request: Mapping[str, Any], answer: Any
) -> None:
    where = request.get("evseId")
    cleared = {
        one.get("tariffId")
        for one in answer.get("clearTariffsResult") or ()
        if one.get("status") == "Accepted"
    }
    for known in await equipment.documents(station, "default-tariff"):
        named = None in cleared or known.document["tariff"]["tariffId"] in cleared
        if named and where in (None, int(known.key)):
            work.delete(known)


_OF_21: Final = {
    "SetDERControl": _set_der,
    "ClearDERControl": _clear_der,
    "SetDefaultTariff": _set_tariff,
}


def _same_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether one profile takes the other's place in the stack (1.6, 3.13.2; K01.FR.06)."""
    names = ("chargingProfilePurpose", "stackLevel", "transactionId")
    return one["evse_id"] == other["evse_id"] and all(
        one["profile"].get(name) == other["profile"].get(name) for name in names
    )


async def _clear_profiles(
    equipment: Equipment, work: Work, station: str, request: Mapping[str, Any]
) -> None:
    number = request.get("id", request.get("chargingProfileId"))
    criteria = request.get("chargingProfileCriteria") or request
    where = criteria.get("connectorId", criteria.get("evseId"))
    for document in await equipment.documents(station, "charging-profile"):
        profile = document.document["profile"]
        if number is not None and document.key != str(number):
            continue
        if where is not None and document.document["evse_id"] != where:
            continue
        purpose, level = criteria.get("chargingProfilePurpose"), criteria.get("stackLevel")
        if purpose is not None and profile["chargingProfilePurpose"] != purpose:
            continue
        if level is not None and profile["stackLevel"] != level:
            continue
        work.delete(document)


def _configuration_name(key: str) -> dict[str, Any]:
    # 1.6 has no components: its keys stand beside the variables of 2.x under one of their own.
    return {"component": {"name": "Configuration"}, "variable": {"name": key}}


def _configuration_key(entry: Mapping[str, Any]) -> dict[str, Any]:
    attribute = {
        "type": "Actual",
        "value": _shown(entry["key"], entry.get("value")),
        "mutability": "ReadOnly" if entry.get("readonly") else "ReadWrite",
    }
    return {**_configuration_name(entry["key"]), "attributes": [attribute]}


def _certificates(answer: Mapping[str, Any], asked: Any) -> list[dict[str, Any]]:
    chains = answer.get("certificateHashDataChain")
    if chains is not None:
        return [dict(chain) for chain in chains]
    return [
        {"certificateHashData": hashes, "certificateType": asked}
        for hashes in answer.get("certificateHashData") or ()
    ]


async def check_root(equipment: Equipment, station: str, request: Mapping[str, Any]) -> None:
    """Refuse to delete the last root that a station knows us by (FW-08).

    Raises:
        Invalid: naming the field.
    """
    known = await equipment.documents(station, "certificate")
    roots = {
        _number(d.document["certificateHashData"])
        for d in known
        if d.document.get("certificateType") in _OUR_ROOTS
    }
    if roots == {_number(request["certificateHashData"])}:
        raise Invalid("certificateHashData", "is the last root by which the station knows us")


def _number(hashes: Mapping[str, Any]) -> str:
    return str(hashes["serialNumber"]).strip().lower().lstrip("0")


_OUR_ROOTS: Final = frozenset({"CSMSRootCertificate", "CentralSystemRootCertificate"})
_QUESTION_2: Final = {"certificateType": ["CSMSRootCertificate"]}
OUR_ROOTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "1.6": {"certificateType": "CentralSystemRootCertificate"},
    "2.0.1": _QUESTION_2,
    "2.1": _QUESTION_2,
}
"""How a station is asked for the roots that it knows us by."""


def _shown(name: str, value: str | None) -> str | None:
    return _MASK if value and name.lower() in SECRET_VARIABLES else value
