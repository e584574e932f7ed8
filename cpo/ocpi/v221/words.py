"""The word lists of OCPI 2.2.1 (its enums)."""

ALLOWED_TYPES = frozenset({"ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"})
AUTH_METHODS = frozenset({"AUTH_REQUEST", "COMMAND", "WHITELIST"})
CAPABILITIES = frozenset(
    {
        "CHARGING_PREFERENCES_CAPABLE",
        "CHARGING_PROFILE_CAPABLE",
        "CHIP_CARD_SUPPORT",
        "CONTACTLESS_CARD_SUPPORT",
        "CREDIT_CARD_PAYABLE",
        "DEBIT_CARD_PAYABLE",
        "PED_TERMINAL",
        "REMOTE_START_STOP_CAPABLE",
        "RESERVABLE",
        "RFID_READER",
        "START_SESSION_CONNECTOR_REQUIRED",
        "TOKEN_GROUP_CAPABLE",
        "UNLOCK_CAPABLE",
    }
)
# Momentary values, which a Session may show and a CDR may not (SES-11).
SESSION_ONLY_DIMENSIONS = frozenset(
    {"CURRENT", "ENERGY_EXPORT", "ENERGY_IMPORT", "POWER", "STATE_OF_CHARGE"}
)
CDR_DIMENSIONS = SESSION_ONLY_DIMENSIONS | {
    "ENERGY",
    "MAX_CURRENT",
    "MAX_POWER",
    "MIN_CURRENT",
    "MIN_POWER",
    "PARKING_TIME",
    "RESERVATION_TIME",
    "TIME",
}
CHARGING_PREFERENCES_RESPONSES = frozenset(
    {
        "ACCEPTED",
        "DEPARTURE_REQUIRED",
        "ENERGY_NEED_REQUIRED",
        "NOT_POSSIBLE",
        "PROFILE_TYPE_NOT_SUPPORTED",
    }
)
CHARGING_PROFILE_RESPONSES = frozenset(
    {"ACCEPTED", "NOT_SUPPORTED", "REJECTED", "TOO_OFTEN", "UNKNOWN_SESSION"}
)
CHARGING_PROFILE_RESULTS = frozenset({"ACCEPTED", "REJECTED", "UNKNOWN"})
CHARGING_RATE_UNITS = frozenset({"A", "W"})
COMMAND_RESPONSES = frozenset({"ACCEPTED", "NOT_SUPPORTED", "REJECTED", "UNKNOWN_SESSION"})
COMMAND_RESULTS = frozenset(
    {
        "ACCEPTED",
        "CANCELED_RESERVATION",
        "EVSE_INOPERATIVE",
        "EVSE_OCCUPIED",
        "FAILED",
        "NOT_SUPPORTED",
        "REJECTED",
        "TIMEOUT",
        "UNKNOWN_RESERVATION",
    }
)
COMMANDS = frozenset(
    {"CANCEL_RESERVATION", "RESERVE_NOW", "START_SESSION", "STOP_SESSION", "UNLOCK_CONNECTOR"}
)
CONNECTION_STATUSES = frozenset({"CONNECTED", "OFFLINE", "PLANNED", "SUSPENDED"})
CONNECTOR_FORMATS = frozenset({"CABLE", "SOCKET"})
CONNECTOR_TYPES = frozenset(
    {
        "CHADEMO",
        "CHAOJI",
        *(f"DOMESTIC_{letter}" for letter in "ABCDEFGHIJKLMNO"),
        "GBT_AC",
        "GBT_DC",
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
        "NEMA_10_30",
        "NEMA_10_50",
        "NEMA_14_30",
        "NEMA_14_50",
        "NEMA_5_20",
        "NEMA_6_30",
        "NEMA_6_50",
        "PANTOGRAPH_BOTTOM_UP",
        "PANTOGRAPH_TOP_DOWN",
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
        "BIKE_SHARING",
        "BUS_STOP",
        "CAFE",
        "CARPOOL_PARKING",
        "FUEL_STATION",
        "HOTEL",
        "MALL",
        "METRO_STATION",
        "MUSEUM",
        "NATURE",
        "PARKING_LOT",
        "RECREATION_AREA",
        "RESTAURANT",
        "SPORT",
        "SUPERMARKET",
        "TAXI_STAND",
        "TRAIN_STATION",
        "TRAM_STOP",
        "WIFI",
    }
)
IMAGE_CATEGORIES = frozenset(
    {"CHARGER", "ENTRANCE", "LOCATION", "NETWORK", "OPERATOR", "OTHER", "OWNER"}
)
INTERFACE_ROLES = frozenset({"RECEIVER", "SENDER"})
MODULES = frozenset(
    {
        "cdrs",
        "chargingprofiles",
        "commands",
        "credentials",
        "hubclientinfo",
        "locations",
        "sessions",
        "tariffs",
        "tokens",
    }
)
PARKING_RESTRICTIONS = frozenset({"CUSTOMERS", "DISABLED", "EV_ONLY", "MOTORCYCLES", "PLUGGED"})
PARKING_TYPES = frozenset(
    {
        "ALONG_MOTORWAY",
        "ON_DRIVEWAY",
        "ON_STREET",
        "PARKING_GARAGE",
        "PARKING_LOT",
        "UNDERGROUND_GARAGE",
    }
)
POWER_TYPES = frozenset({"AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"})
PROFILE_TYPES = frozenset({"CHEAP", "FAST", "GREEN", "REGULAR"})
RESERVATION_RESTRICTIONS = frozenset({"RESERVATION", "RESERVATION_EXPIRES"})
ROLES = frozenset({"CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP"})
SESSION_STATUSES = frozenset({"ACTIVE", "COMPLETED", "INVALID", "PENDING", "RESERVATION"})
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
TARIFF_TYPES = frozenset(
    {"AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN", "REGULAR"}
)
TOKEN_TYPES = frozenset({"AD_HOC_USER", "APP_USER", "OTHER", "RFID"})
VERSIONS = frozenset({"2.0", "2.1", "2.1.1", "2.2", "2.2.1"})
WHITELISTS = frozenset({"ALLOWED", "ALLOWED_OFFLINE", "ALWAYS", "NEVER"})
