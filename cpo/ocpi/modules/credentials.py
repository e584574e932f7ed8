"""Credentials: partners register, renew, leave, and look at ours."""

from collections.abc import Mapping
from functools import partial

from cpo.ocpi.envelope import Failed, Status
from cpo.ocpi.exchange import OK, Call, Reply, Route
from cpo.ocpi.registration import Registration
from cpo.services.partners import fingerprint


class Credentials:
    """The receiving side of the handshake; who may call what is CRED-1."""

    identifier = "credentials"
    # Whatever stands here, partners ignore it; SENDER is what the chapter advises.
    role = "SENDER"

    def __init__(self, registration: Registration) -> None:
        self._registration = registration
        self.routes: Mapping[tuple[str, int], Route] = {
            ("GET", 0): self.get,
            ("POST", 0): self.post,
            ("PUT", 0): self.put,
            ("DELETE", 0): self.delete,
        }

    async def get(self, call: Call) -> Reply:
        """Answer our credentials; the token in them is the caller's own (CRED-10)."""
        ours = self._registration.credentials(call.token)
        return Reply(data=call.dialect.codec.write_credentials(ours))

    async def post(self, call: Call) -> Reply:
        """Register."""
        if not call.registering:
            raise Failed(405, Status.CLIENT_ERROR, "registered already: use PUT")
        partner = call.partner.id
        data = await self._registration.accept(
            partner, fingerprint(call.token), call.dialect, call.json()
        )
        return Reply(data=data, sent=partial(self._registration.answered, partner))

    async def put(self, call: Call) -> Reply:
        """Renew, or switch to this version."""
        _must_be_registered(call)
        return Reply(
            data=await self._registration.renew(
                call.partner.id, call.dialect, call.json(), shown=fingerprint(call.token)
            )
        )

    async def delete(self, call: Call) -> Reply:
        """Leave: no token of either side counts any more (CRED-9)."""
        _must_be_registered(call)
        await self._registration.drop(call.partner.id)
        return OK


def _must_be_registered(call: Call) -> None:
    if call.registering:
        raise Failed(405, Status.CLIENT_ERROR, "not registered: use POST")
