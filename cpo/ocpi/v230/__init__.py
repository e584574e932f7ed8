"""OCPI 2.3.0 on the wire."""
