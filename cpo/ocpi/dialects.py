"""The dialects that are spoken, by version; nobody else knows which versions there are."""

from cpo.ocpi.dialect import Dialect
from cpo.ocpi.v211 import codec as v211
from cpo.ocpi.v211 import words as words211
from cpo.ocpi.v221 import codec as v221
from cpo.ocpi.v221 import words as words221
from cpo.ocpi.v230 import codec as v230

V211 = Dialect(
    version="2.1.1",
    codec=v211.CODEC,
    modules=words211.MODULES,
    commands=words211.COMMANDS,
    session_statuses=words211.SESSION_STATUSES,
    base64_tokens=False,
    routing_headers=False,
    endpoint_roles=False,
    appending_patch=False,
    credit_cdrs=False,
)
V221 = Dialect(
    version="2.2.1",
    codec=v221.CODEC,
    modules=words221.MODULES,
    commands=words221.COMMANDS,
    session_statuses=words221.SESSION_STATUSES,
    base64_tokens=True,
    routing_headers=True,
    endpoint_roles=True,
    appending_patch=True,
    credit_cdrs=True,
)
V230 = Dialect(
    version="2.3.0",
    codec=v230.CODEC,
    modules=words221.MODULES,
    commands=words221.COMMANDS,
    session_statuses=words221.SESSION_STATUSES,
    base64_tokens=True,
    routing_headers=True,
    endpoint_roles=True,
    appending_patch=True,
    credit_cdrs=True,
)

DIALECTS: dict[str, Dialect] = {dialect.version: dialect for dialect in (V211, V221, V230)}
"""Every version that is spoken, oldest first."""


def newest_common(offered: frozenset[str] | set[str], *, ceiling: str | None = None) -> str | None:
    """Return the newest version both sides speak, or None (V-5).

    Args:
        offered: the versions of the partner; those that are not spoken here are passed over.
        ceiling: the newest version that may be used with this partner.
    """
    ours = list(DIALECTS)
    if ceiling in DIALECTS:
        ours = ours[: ours.index(ceiling) + 1]
    return next((version for version in reversed(ours) if version in offered), None)
