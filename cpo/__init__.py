"""A CPO backend that bridges OCPP charge points to OCPI partners."""

__version__ = "0.1.0"
