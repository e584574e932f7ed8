"""Neutral commands: the numbers that chargers know reservations by."""

from cpo.domain.command import reservation_number


def test_reservation_ids_that_are_texts_become_stable_numbers() -> None:
    number = reservation_number("a6b8-reservation")

    assert number == reservation_number("a6b8-reservation")
    assert 0 <= number < 2**31
    assert reservation_number("42") == 42
    assert reservation_number(7) == 7
