"""The OCPI modules, once for all versions."""
