"""OCPI 2.2.1 on the wire."""
