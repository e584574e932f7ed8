"""`cpo` on the command line. Help does not import the server."""

from cpo.cli.main import main

__all__ = ["main"]
