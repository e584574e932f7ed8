"""One request of a partner as the modules see it, and their answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cpo.domain.partner import Partner
from cpo.errors import Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Dialect
from cpo.ocpi.envelope import Failed, Paging, Status, read_paging

Party = tuple[str, str]

LARGEST_PAGE = 1000
LONGEST_ID = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that was authenticated.

    Args:
        segments: the path behind the module, decoded.
        query: the parameters, the first of each name.
        raw_query: as it came.
        body: as it came, at most 1 MiB.
        partner: whose token was shown.
        token: the reading of the token that was right.
        registering: the token is the one-time token of an invitation.
        dialect: of the version in the URL, with the partner's habits.
        us: the party of ours that the routing headers address, None when they do not say.
        them: the party the headers say it comes from.
        acts_for: whether the partner may act in the name of a party.
        url: our address of the module, without query.
    """

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str]
    raw_query: str
    body: bytes
    partner: Partner
    token: str
    registering: bool
    dialect: Dialect
    now: datetime
    url: str
    correlation_id: str
    acts_for: Callable[[str, str], bool]
    us: Party | None = None
    them: Party | None = None

    def json(self) -> Any:
        """Return the body; raises NotJson, or Invalid when it is no object."""
        value = exact_json.decode(self.body)
        if not isinstance(value, dict):
            raise Invalid("", "the body must be an object")
        return value

    def paging(self) -> Paging:
        """Return the parameters of a list request."""
        return read_paging(self.query, largest=LARGEST_PAGE)

    def owner(self, country_code: str, party_id: str) -> Party:
        """Check that a party named in the URL is one of the partner's (TRANS-6, OWN-4).

        Raises Failed with 404, which does not tell whether the object exists (S16).
        """
        if not self.acts_for(country_code, party_id):
            raise Failed(404, Status.CLIENT_ERROR, "not found under this country and party")
        return country_code.upper(), party_id.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a module answers: JSON text for `data`, or None for none.

    `sent` hears that the answer has left, or that it could not.
    """

    data: bytes | None = None
    http: int = 200
    status: int = Status.SUCCESS
    message: str = "Success"
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: Callable[[], None] | None = None


OK = Reply()
CREATED = Reply(http=201)

Route = Callable[[Call], Awaitable[Reply]]


class Module(Protocol):
    """One OCPI module on our side, for all versions.

    `routes` finds the handler by method and number of segments behind the module's URL.
    """

    identifier: str
    role: str
    routes: Mapping[tuple[str, int], Route]


def find(routes: Mapping[tuple[str, int], Route], method: str, depth: int) -> Route:
    """Return the handler; raises Failed with 404 or 405."""
    route = routes.get((method, depth))
    if route is not None:
        return route
    others = sorted(m for m, d in routes if d == depth)
    if others:
        raise NotAllowed(others)
    raise Failed(404, Status.CLIENT_ERROR, "there is nothing at this address")


class NotAllowed(Failed):
    """The address is right, the method is not."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(405, Status.CLIENT_ERROR, f"only {', '.join(allowed)} here")
        self.allowed = allowed


def check_id(text: str, field_name: str) -> str:
    """Return an identifier from a URL; raises Invalid when none can look so."""
    if not text or len(text) > LONGEST_ID or not text.isprintable():
        raise Invalid(field_name, "is no identifier")
    return text
