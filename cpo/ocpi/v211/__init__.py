"""OCPI 2.1.1 on the wire."""
