"""The deviations of real chargers, by number and name.

Each is a way in which a charger in the field was seen to break or bend the rules;
the docstring is what `chargers-sim show quirks` shows. A server has to live with all of them.
"""

from chargers_sim.quirks import boot, connection, habits, meter, text, transactions
from chargers_sim.quirks.catalogue import CATALOGUE, Quirk, make, show

__all__ = [
    "CATALOGUE",
    "Quirk",
    "boot",
    "connection",
    "habits",
    "make",
    "meter",
    "show",
    "text",
    "transactions",
]
