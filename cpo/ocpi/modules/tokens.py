"""Tokens, receiver interface: partners put, change and look at their drivers' tokens."""

from collections.abc import Mapping

from cpo.domain.tokens import Token
from cpo.errors import Invalid, NotFound
from cpo.ocpi.exchange import CREATED, OK, Call, Reply, Route, check_id
from cpo.services.ports import Store, Work
from cpo.services.tokens import Tokens as TokenBook
from cpo.services.tokens import older


class Tokens:
    """Takes a partner's tokens; it sees and changes only those of its own parties (TOK-6)."""

    identifier = "tokens"
    role = "RECEIVER"

    def __init__(self, store: Store, book: TokenBook) -> None:
        self._store = store
        self._book = book
        self.routes: Mapping[tuple[str, int], Route] = {
            ("GET", 3): self.get,
            ("PUT", 3): self.put,
            ("PATCH", 3): self.patch,
        }

    async def get(self, call: Call) -> Reply:
        """Answer what we hold."""
        known = await self._known(call)
        if known is None:
            raise NotFound("token", call.segments[2])
        return Reply(data=call.dialect.codec.token(known, call.dialect.quirks).text)

    async def put(self, call: Call) -> Reply:
        """Take a token as it is (TOK-1)."""
        owner = call.owner(call.segments[0], call.segments[1])
        uid = check_id(call.segments[2], "token_uid")
        token = call.dialect.codec.read_token(call.json(), owner=owner, partner_id=call.partner.id)
        _agree(call, token, owner, uid)
        async with self._book.alone((uid,)):
            known = await self._store.token(*owner, uid, token.type)
            if known is not None and known.partner_id != call.partner.id:
                # Left by a connection that was before this one: nothing of it counts here.
                known = None
            if known is not None and older(token, known):
                return OK
            await self._write(token)
        return CREATED if known is None else OK

    async def patch(self, call: Call) -> Reply:
        """Take the changed fields of a token we hold."""
        owner = call.owner(call.segments[0], call.segments[1])
        async with self._book.alone((call.segments[2],)):
            known = await self._known(call)
            if known is None:
                raise NotFound("token", call.segments[2])
            token = call.dialect.codec.read_token_patch(call.json(), known)
            _agree(call, token, owner, call.segments[2])
            if (token.type, token.partner_id) != (known.type, known.partner_id):
                raise Invalid("type", "cannot be changed: it is part of the token's key")
            if not older(token, known):
                await self._write(token)
        return OK

    async def _write(self, token: Token) -> None:
        work = Work()
        self._book.write(work, token)
        await self._store.commit(work)

    async def _known(self, call: Call) -> Token | None:
        """Find the token; without a type it is RFID, else the only one of that uid (TOK-2)."""
        owner = call.owner(call.segments[0], call.segments[1])
        uid = check_id(call.segments[2], "token_uid")
        kind = call.query.get("type") or call.query.get("token_type")
        known = await self._store.token(*owner, uid, kind or "RFID")
        if known is None and kind is None:
            # Who puts a token without saying its type in the URL does not say it here either.
            of_owner = [
                t
                for t in await self._store.tokens_by_uid(uid)
                if (t.country_code.upper(), t.party_id.upper()) == owner
            ]
            known = of_owner[0] if len(of_owner) == 1 else None
        return known if known is not None and known.partner_id == call.partner.id else None


def _agree(call: Call, token: Token, owner: tuple[str, str], uid: str) -> None:
    """Check that body and URL name the same token (TRANS-17, TOK-3)."""
    if token.country_code.upper() != owner[0]:
        raise Invalid("country_code", "differs from the one in the URL")
    if token.party_id.upper() != owner[1]:
        raise Invalid("party_id", "differs from the one in the URL")
    if token.uid.lower() != uid.lower():
        raise Invalid("uid", "differs from the one in the URL")
    kind = call.query.get("type") or call.query.get("token_type")
    if kind is not None and kind.upper() != token.type.upper():
        raise Invalid("type", "differs from the one in the URL")
