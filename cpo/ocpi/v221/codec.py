"""The domain in the words of OCPI 2.2.1, and what partners say in them.

2.3.0 extends this codec: amounts, tariffs, word lists and credentials are all it says differently.
"""

from cpo.ocpi.v221.charges import Charges
from cpo.ocpi.v221.commands import Commands
from cpo.ocpi.v221.parties import Parties
from cpo.ocpi.v221.places import Places


class Codec(Places, Charges, Parties, Commands):
    """See `cpo.ocpi.dialect.Codec`."""


CODEC = Codec()
