"""Who is on a local list, and what brings it up to date (AU-12, TOK-30)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpo.domain.local_list import (
    Capacity,
    Entry,
    digest_of,
    entries_of,
    may_be_listed,
    plan,
)
from cpo.domain.tokens import Token, Whitelist, alias_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ROOMY = Capacity(entries=1000, per_message=1000, bytes_per_message=1 << 20)


def token(uid="TAG", **changes):
    return Token(
        **{
            "country_code": "NL", "party_id": "MSP", "uid": uid, "type": "RFID",
            "contract_id": "C", "issuer": "I", "valid": True, "whitelist": Whitelist.ALLOWED,
            **changes,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "listed"),
    [
        ({"whitelist": Whitelist.ALWAYS}, True),
        ({"whitelist": Whitelist.ALLOWED}, True),
        ({"whitelist": Whitelist.ALLOWED_OFFLINE}, True),
        ({"whitelist": Whitelist.NEVER}, False),
        ({"valid": False}, False),
        ({"expires_at": NOON}, False),
        ({"expires_at": NOON + timedelta(seconds=1)}, True),
        ({"type": "APP_USER"}, False),
        ({"type": "AD_HOC_USER"}, False),
        ({"type": "EMAID"}, True),
    ],
)
def test_tok30_only_what_may_be_accepted_offline_is_listed(changes, listed):
    assert may_be_listed(token(**changes), NOON) is listed


def test_tok29_cm06_long_uids_and_groups_have_their_alias_in_16():
    uid, group = "U" * 30, "G" * 30
    (old,) = entries_of([token(uid, group_id=group)], "1.6", 10)
    (new,) = entries_of([token(uid, group_id=group)], "2", 10)

    assert (old.id, old.type, old.group) == (alias_of(uid), "", alias_of(group))
    assert (new.id, new.type, new.group) == (uid, "ISO14443", group)


def test_a_contract_is_in_no_list_of_16():
    assert entries_of([token(type="EMAID")], "1.6", 10) == ()


def test_the_first_that_fit_are_taken_and_no_uid_twice():
    tokens = [token("A"), token("a", partner_id="P2"), token("B"), token("C")]

    assert [entry.id for entry in entries_of(tokens, "1.6", 2)] == ["A", "B"]


def entry(id, group=None):
    return Entry(id, "", group)


def sent(todo):
    return [(kind, [e["id_token"] for e in part]) for kind, part in todo.messages()]


def test_au12_what_is_not_known_is_sent_whole():
    assert sent(plan(None, [entry("A")], ROOMY)) == [("Full", ["A"])]
    assert sent(plan(None, [], ROOMY)) == [("Full", [])]


def test_au12_what_is_known_is_told_the_difference_removals_first():
    todo = plan(
        [entry("A"), entry("B"), entry("C")], [entry("B", "G"), entry("C"), entry("D")], ROOMY
    )

    assert sent(todo) == [("Differential", ["A", "B", "D"])]
    assert "status" not in todo.parts[0][0]
    assert todo.parts[0][1] == {"id_token": "B", "type": "", "status": "Accepted", "group_id": "G"}


def test_au12_nothing_changed_nothing_is_sent():
    assert sent(plan([entry("A")], [entry("A")], ROOMY)) == []


def test_au12_a_difference_of_more_messages_than_the_whole_is_not_sent():
    two = Capacity(entries=10, per_message=2, bytes_per_message=1 << 20)
    known = [entry(c) for c in "ABCDEF"]

    assert sent(plan(known, [entry("X")], two)) == [("Full", ["X"])]


def test_a_list_is_cut_by_items_and_by_bytes():
    by_items = Capacity(entries=10, per_message=2, bytes_per_message=1 << 20)
    by_bytes = Capacity(entries=10, per_message=10, bytes_per_message=400)
    wanted = [entry(c) for c in "ABCDE"]

    assert sent(plan(None, wanted, by_items)) == [
        ("Full", ["A", "B"]), ("Differential", ["C", "D"]), ("Differential", ["E"]),
    ]  # fmt: skip
    assert [len(part) for _, part in sent(plan(None, wanted, by_bytes))] == [2, 2, 1]


LISTS = st.dictionaries(
    st.text("ABCDEFGH", min_size=1, max_size=2), st.sampled_from([None, "G1", "G2"]), max_size=12
).map(lambda found: [entry(tag, group) for tag, group in found.items()])


@given(LISTS, LISTS, st.integers(1, 5), st.booleans())
def test_au12_a_station_that_does_what_it_is_told_has_what_is_wanted(known, wanted, size, knows):
    capacity = Capacity(entries=100, per_message=size, bytes_per_message=1 << 20)
    has = {e.key: e for e in known}
    for kind, part in plan(known if knows else None, wanted, capacity).messages():
        assert len(part) <= size
        if kind == "Full":
            has = {}
        for told in part:
            key = f"{told['type']}|{told['id_token']}"
            if "status" in told:
                has[key] = entry(told["id_token"], told.get("group_id"))
            else:
                has.pop(key, None)

    assert digest_of(has.values()) == digest_of(wanted)
