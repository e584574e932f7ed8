"""IdToken types of OCPP 2.0.1 and 2.1 and what OCPI calls them (AU-09)."""

import pytest

from cpo.domain.tokens import OCPI_TYPES, ocpp_type, question_type, spellings

# IdTokenEnumType of 2.0.1, and what 2.1 adds.
ALL_TYPES = {
    "Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress",
    "NoAuthorization", "DirectPayment", "VIN", "EVCCID",
}  # fmt: skip


def test_au09_every_type_that_identifies_has_a_word_in_ocpi():
    assert set(OCPI_TYPES) == ALL_TYPES - {"NoAuthorization"}


@pytest.mark.parametrize(
    ("kind", "uid", "written"),
    [
        ("RFID", "04A1B2C3", "ISO14443"),
        ("RFID", "E004010012345678", "ISO15693"),
        ("EMAID", "DE8AACA2B3C4D5N", "eMAID"),
        ("APP_USER", "app-1", "Central"),
        ("AD_HOC_USER", "adhoc-1", "Central"),
        ("OTHER", "x", "Central"),
        (None, "x", "Central"),
        *((kind, "x", kind) for kind in sorted(OCPI_TYPES)),
    ],
)
def test_au09_a_token_is_written_in_ocpps_words(kind, uid, written):
    assert ocpp_type(kind, uid) == written


@pytest.mark.parametrize(
    ("kind", "version", "asked"),
    [
        ("ISO14443", "2.2.1", "RFID"),
        ("", "2.2.1", "RFID"),
        ("eMAID", "2.3.0", "EMAID"),
        ("eMAID", "2.2.1", "OTHER"),
        ("Central", "2.2.1", "APP_USER"),
        ("Central", "2.1.1", "OTHER"),
        ("MacAddress", "2.2.1", "OTHER"),
        *(
            (kind, "2.2.1", None)
            for kind in ("NoAuthorization", "Local", "KeyCode", "DirectPayment")
        ),
    ],
)
def test_au09_tok27_an_emsp_is_asked_in_the_words_of_its_version(kind, version, asked):
    assert question_type(kind, version) == asked


def test_a_contract_id_is_found_however_it_is_separated():
    wanted = {"DE-8AA-CA2B3C4D5-N", "DE8AACA2B3C4D5N"}

    assert wanted <= set(spellings("DE-8AA-CA2B3C4D5-N", "eMAID"))
    assert wanted <= set(spellings("DE8AACA2B3C4D5N", "eMAID"))
    assert spellings("A-B", "ISO14443") == ("A-B",)
