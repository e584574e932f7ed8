"""The word lists of OCPI 2.3.0 that differ from those of 2.2.1."""

from cpo.ocpi.v221 import words

CONNECTOR_CAPABILITIES = frozenset({"ISO_15118_20_PLUG_AND_CHARGE", "ISO_15118_2_PLUG_AND_CHARGE"})
CONNECTOR_TYPES = words.CONNECTOR_TYPES | {"MCS", "SAE_J3400"}
EVSE_POSITIONS = frozenset({"CENTER", "LEFT", "RIGHT"})
PARKING_DIRECTIONS = frozenset({"ANGLE", "PARALLEL", "PERPENDICULAR"})
PARKING_RESTRICTIONS = words.PARKING_RESTRICTIONS | {"EMPLOYEES", "TAXIS", "TENANTS"}
# A hub is named in hub_party_id instead of having a role (CRED-13).
ROLES = words.ROLES - {"HUB"}
TAX_INCLUDED = frozenset({"N/A", "NO", "YES"})
TOKEN_TYPES = words.TOKEN_TYPES | {"EMAID"}
VEHICLE_TYPES = frozenset(
    {
        "BUS",
        "DISABLED",
        "MOTORCYCLE",
        "PERSONAL_VEHICLE",
        "PERSONAL_VEHICLE_WITH_TRAILER",
        "RIGID",
        "SEMI_TRACTOR",
        "TRUCK_WITH_TRAILER",
        "VAN",
    }
)
VERSIONS = words.VERSIONS | {"2.3.0"}
