"""Charge points' passwords."""

import pytest

from cpo.domain.station import Station
from cpo.domain.values import replace
from cpo.services.passwords import Passwords

PASSWORDS = Passwords(b"key")
HEX = "00112233445566778899AABBCCDDEEFF00112233"


def station(password):
    return Station(identity="CP1", password_hash=PASSWORDS.hash(password))


def test_a_password_is_kept_as_a_hash_that_depends_on_the_key():
    """S13, SEC-14."""
    stored = PASSWORDS.hash("a-good-long-password")

    assert "password" not in stored
    assert stored != Passwords(b"other").hash("a-good-long-password")


def test_only_the_right_password_matches():
    known = station("a-good-long-password")

    assert PASSWORDS.matches(known, b"a-good-long-password")
    assert not PASSWORDS.matches(known, b"a-good-long-passwore")
    assert not PASSWORDS.matches(known, b"")
    assert not PASSWORDS.matches(known, b"\xff\x00")


@pytest.mark.parametrize("key", [HEX, HEX.lower()])
def test_a_hexadecimal_key_may_come_as_the_bytes_it_stands_for(key):
    assert PASSWORDS.matches(station(key), bytes.fromhex(HEX))
    assert PASSWORDS.matches(station(key), key.encode())


def test_the_previous_password_holds_during_a_rotation():
    """SEC-15."""
    rotating = replace(station("the-new-password-1"), previous_password_hash=PASSWORDS.hash("old"))

    assert PASSWORDS.matches(rotating, b"old")
    assert PASSWORDS.matches(rotating, b"the-new-password-1")


def test_a_station_without_password_matches_nothing():
    assert not PASSWORDS.matches(Station(identity="CP1"), b"\0" * 32)
    assert not PASSWORDS.matches(Station(identity="CP1"), b"")
