"""TOK-30: the best of many tokens, read page by page."""

import random
from types import SimpleNamespace

from cpo.domain.partner import PartnerStatus
from cpo.domain.tokens import Token, Whitelist
from cpo.services.list_tokens import ListTokens

PAGE = 10


class Store:
    """Serves tokens in pages, in an order that is nobody's."""

    def __init__(self, tokens):
        self.tokens = tokens

    async def page(self, kind, *, limit, cursor=None):
        first = int(cursor or 0)
        following = first + PAGE
        return SimpleNamespace(
            items=[(token, None) for token in self.tokens[first:following]],
            next_cursor=str(following) if following < len(self.tokens) else None,
        )


def token(number, partner="p1"):
    return Token(
        country_code="DE",
        party_id="MSP",
        uid=f"{number:08}",
        type="RFID",
        contract_id=f"C{number}",
        issuer="Msp",
        valid=True,
        whitelist=Whitelist.ALLOWED,
        partner_id=partner,
    )


async def test_TOK_30_the_best_of_many_are_kept_wherever_they_stand():
    used = {"00000150": 20.0, "00000007": 10.0}
    tokens = [token(number) for number in range(200)] + [token(900, partner=None)]
    random.Random(1).shuffle(tokens)
    connected = SimpleNamespace(id="p1", status=PartnerStatus.CONNECTED)
    partners = SimpleNamespace(all=lambda: [connected])
    use = SimpleNamespace(last=lambda uid: used.get(uid, 0.0))
    kept = ListTokens(Store(tokens), partners, use, now=lambda: None, limit=4)
    await kept.refresh()

    assert [t.uid for t in kept.ordered()] == ["00000900", "00000150", "00000007", "00000000"]
    assert len(kept._tokens) == 6
