"""What the operator API calls."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from cpo.services.cdr_chain import CdrChain
from cpo.services.cdrs import Cdrs
from cpo.services.commands import Commands
from cpo.services.files import Files
from cpo.services.jobs import Jobs
from cpo.services.limits import Limits
from cpo.services.local_lists import LocalLists
from cpo.services.memory import Memory
from cpo.services.meter_keys import MeterKeys
from cpo.services.partners import Partners
from cpo.services.placing import Placing
from cpo.services.ports import Now, Store
from cpo.services.site_limits import SiteLimits
from cpo.services.sites import SiteBook
from cpo.services.starts import Starts
from cpo.services.station_security import StationSecurity
from cpo.services.stations import Stations
from cpo.services.templates import Templates
from cpo.services.tokens import Tokens
from cpo.services.transactions import Transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorServices:
    """Everything behind the operator API.

    `parties` are (country_code, party_id) of the parties we are.
    `hash_password` turns a station's identity and password into what is stored.
    `versions_url` returns where partners start; `readiness` returns a reason for each part that
    is not ready, nothing when all are; `condition` what else is worth knowing of its state;
    `refused` the connections of stations that were refused last.
    """

    store: Store
    memory: Memory
    parties: Sequence[tuple[str, str]]
    stations: Stations
    sites: SiteBook
    tokens: Tokens
    transactions: Transactions
    placing: Placing
    partners: Partners
    commands: Commands
    cdrs: Cdrs
    chain: CdrChain
    limits: Limits
    site_limits: SiteLimits
    templates: Templates
    starts: Starts
    jobs: Jobs
    files: Files
    local_lists: LocalLists
    security: StationSecurity
    meter_keys: MeterKeys
    hash_password: Callable[[str, str], str]
    versions_url: Callable[[], str]
    readiness: Callable[[], Awaitable[Sequence[str]]]
    now: Now
    condition: Callable[[], Mapping[str, object]] = dict
    refused: Callable[[], Sequence[Mapping[str, object]]] = tuple
