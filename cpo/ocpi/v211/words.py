"""The word lists of OCPI 2.1.1 (its enums)."""

ALLOWED_TYPES = frozenset({"ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"})
AUTH_METHODS = frozenset({"AUTH_REQUEST", "WHITELIST"})
CAPABILITIES = frozenset(
    {
        "CHARGING_PROFILE_CAPABLE",
        "CREDIT_CARD_PAYABLE",
        "REMOTE_START_STOP_CAPABLE",
        "RESERVABLE",
        "RFID_READER",
        "UNLOCK_CAPABLE",
    }
)
CDR_DIMENSIONS = frozenset({"ENERGY", "FLAT", "MAX_CURRENT", "MIN_CURRENT", "PARKING_TIME", "TIME"})
COMMAND_RESPONSES = frozenset(
    {"ACCEPTED", "NOT_SUPPORTED", "REJECTED", "TIMEOUT", "UNKNOWN_SESSION"}
)
COMMANDS = frozenset({"RESERVE_NOW", "START_SESSION", "STOP_SESSION", "UNLOCK_CONNECTOR"})
CONNECTOR_FORMATS = frozenset({"CABLE", "SOCKET"})
CONNECTOR_TYPES = frozenset(
    {
        "CHADEMO",
        *(f"DOMESTIC_{letter}" for letter in "ABCDEFGHIJKL"),
        "IEC_60309_2_single_16",
        "IEC_60309_2_three_16",
        "IEC_60309_2_three_32",
        "IEC_60309_2_three_64",
        "IEC_62196_T1",
        "IEC_62196_T1_COMBO",
        "IEC_62196_T2",
        "IEC_62196_T2_COMBO",
        "IEC_62196_T3A",
        "IEC_62196_T3C",
        "TESLA_R",
        "TESLA_S",
    }
)
DAYS_OF_WEEK = frozenset(
    {"MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"}
)
ENERGY_SOURCES = frozenset(
    {"COAL", "GAS", "GENERAL_FOSSIL", "GENERAL_GREEN", "NUCLEAR", "SOLAR", "WATER", "WIND"}
)
ENVIRONMENTAL_IMPACTS = frozenset({"CARBON_DIOXIDE", "NUCLEAR_WASTE"})
FACILITIES = frozenset(
    {
        "AIRPORT",
        "BUS_STOP",
        "CAFE",
        "CARPOOL_PARKING",
        "FUEL_STATION",
        "HOTEL",
        "MALL",
        "MUSEUM",
        "NATURE",
        "RECREATION_AREA",
        "RESTAURANT",
        "SPORT",
        "SUPERMARKET",
        "TAXI_STAND",
        "TRAIN_STATION",
        "WIFI",
    }
)
IMAGE_CATEGORIES = frozenset(
    {"CHARGER", "ENTRANCE", "LOCATION", "NETWORK", "OPERATOR", "OTHER", "OWNER"}
)
LOCATION_TYPES = frozenset(
    {"ON_STREET", "OTHER", "PARKING_GARAGE", "PARKING_LOT", "UNDERGROUND_GARAGE", "UNKNOWN"}
)
MODULES = frozenset(
    {"cdrs", "commands", "credentials", "locations", "sessions", "tariffs", "tokens"}
)
PARKING_RESTRICTIONS = frozenset({"CUSTOMERS", "DISABLED", "EV_ONLY", "MOTORCYCLES", "PLUGGED"})
POWER_TYPES = frozenset({"AC_1_PHASE", "AC_3_PHASE", "DC"})
SESSION_STATUSES = frozenset({"ACTIVE", "COMPLETED", "INVALID", "PENDING"})
STATUSES = frozenset(
    {
        "AVAILABLE",
        "BLOCKED",
        "CHARGING",
        "INOPERATIVE",
        "OUTOFORDER",
        "PLANNED",
        "REMOVED",
        "RESERVED",
        "UNKNOWN",
    }
)
TARIFF_DIMENSIONS = frozenset({"ENERGY", "FLAT", "PARKING_TIME", "TIME"})
TOKEN_TYPES = frozenset({"OTHER", "RFID"})
VERSIONS = frozenset({"2.0", "2.1", "2.1.1"})
WHITELISTS = frozenset({"ALLOWED", "ALLOWED_OFFLINE", "ALWAYS", "NEVER"})
