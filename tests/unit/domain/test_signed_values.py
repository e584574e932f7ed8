"""MV-16, MV-17, CDR-16: signed meter values are read and verified, never changed."""

import base64
import json
import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cpo.domain.events import SignedReading
from cpo.domain.meter_keys import KeySource, MeterKey, check_key, choose_key
from cpo.domain.signed_values import Signature, check_signed, parse_ocmf, verify
from cpo.errors import Invalid

KEY = ec.derive_private_key(20260105, ec.SECP256R1())
DER = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
OTHER = (
    ec.derive_private_key(7, ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)
RSA = (
    rsa.generate_private_key(65537, 1024)
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def payload(*readings, **more):
    return json.dumps({"FV": "1.0", "GI": "X", "PG": "T1", "MS": "M-7", "RD": readings, **more})


def reading(kind, kwh, **more):
    return {
        "TM": "2026-01-05T11:00:00,000+0100 S",
        "TX": kind,
        "RV": kwh,
        "RU": "kWh",
        "ST": "G",
        **more,
    }


def signed(text, *, key=KEY, encoding="hex", algorithm=None):
    signature = key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    section = {"SD": signature.hex()}
    if encoding == "base64":
        section = {"SE": "base64", "SD": base64.b64encode(signature).decode()}
    if algorithm is not None:
        section["SA"] = algorithm
    return f"OCMF|{text}|{json.dumps(section)}"


SESSION = signed(payload(reading("B", 1000.5), reading("E", 1013.0)))


def one(data, **more):
    return SignedReading(nature="End", data=data, method="OCMF", **more)


def known(key, **more):
    return MeterKey(name="M", public_key=key, **more)


def test_a_data_set_is_read_as_it_was_signed():
    ocmf = parse_ocmf(SESSION)

    begin, end = ocmf.registers
    assert begin.at == datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert (begin.transaction, begin.energy_wh) == ("B", Decimal("1000500.0"))
    assert (end.transaction, end.energy_wh) == ("E", Decimal(1013000))
    assert (ocmf.meter_serial, ocmf.pagination) == ("M-7", "T1")
    assert ocmf.payload in SESSION


def test_what_a_reading_leaves_out_is_as_in_the_one_before():
    ocmf = parse_ocmf(signed(payload(reading("B", 1), {"TX": "E", "RV": 2})))

    assert [r.energy_wh for r in ocmf.registers] == [1000, 2000]


@pytest.mark.parametrize(
    "wrapped",
    [
        SESSION,
        f"  {SESSION}\n",
        base64.b64encode(SESSION.encode()).decode(),
        SESSION.encode().hex(),
        json.dumps({"signedMeterData": SESSION}),
        json.dumps({"signedMeterData": base64.b64encode(SESSION.encode()).decode()}),
        signed(payload(reading("B", 1), GS="a|b")),
    ],
)
def test_it_is_found_in_every_wrapping(wrapped):
    assert parse_ocmf(wrapped).registers


@pytest.mark.parametrize(
    "key",
    [
        DER.hex(),
        base64.b64encode(DER).decode(),
        POINT.hex(),
        PEM,
        f"oca:base16:asn1:{DER.hex()}",
        base64.b64encode(f"oca:base16:asn1:{DER.hex()}".encode()).decode(),
    ],
    ids=["hex", "base64", "point", "pem", "oca", "oca in base64"],
)
def test_a_public_key_is_read_in_every_spelling(key):
    assert verify(parse_ocmf(SESSION), key) == (Signature.VALID, None)


@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_a_signature_is_read_in_both_encodings(encoding):
    data = signed(payload(reading("B", 1)), encoding=encoding)

    assert verify(parse_ocmf(data), DER.hex())[0] is Signature.VALID


def test_one_changed_digit_makes_the_signature_invalid():
    check = check_signed([one(SESSION.replace("1013.0", "1014.0"))], keys=[known(DER.hex())])

    assert check.signature is Signature.INVALID
    assert check.problems == ("End: the signature does not fit the data",)


def test_another_meters_key_does_not_fit():
    other = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    key = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()

    check = check_signed([one(SESSION, public_key=DER.hex())], keys=[known(key)])

    assert check.signature is Signature.INVALID
    assert check.key == "registered"
    assert check.key_differs
    assert "the key sent along is not the one registered: M" in check.problems


def test_the_key_sent_along_proves_only_that_nothing_was_changed():
    check = check_signed([one(SESSION, public_key=DER.hex())], energy_wh=Decimal(12500))

    assert (check.signature, check.key, check.key_differs) == ("valid", "sent along", False)
    assert "sent along" in check.problems[0]


@pytest.mark.parametrize("spelling", [DER.hex(), PEM, POINT.hex().upper()])
def test_the_registered_key_counts_however_it_is_written(spelling):
    readings = [one(SESSION, public_key=DER.hex())]
    check = check_signed(readings, energy_wh=Decimal(12500), keys=[known(spelling)])

    assert (check.signature, check.key) == ("valid", "registered")
    assert (check.key_differs, check.differs, check.problems) == (False, False, ())


def test_a_meter_that_contradicts_the_bill_by_a_known_key():
    contradicted = check_signed([one(SESSION)], energy_wh=Decimal(13000), keys=[known(PEM)])
    rounded = check_signed([one(SESSION)], energy_wh=Decimal(12550), keys=[known(PEM)])
    by_hearsay = check_signed([one(SESSION, public_key=PEM)], energy_wh=Decimal(13000))

    assert (contradicted.differs, contradicted.contradicts) == (True, True)
    # It signs tenths of a kWh: 50 Wh may be their rounding.
    assert (rounded.differs, rounded.contradicts) == (True, False)
    assert (by_hearsay.differs, by_hearsay.contradicts) == (True, False)


def test_a_key_that_differs_is_seen_also_beside_data_nobody_can_read():
    odd = SignedReading(nature="End", data="AQID", method="EDL40", public_key=DER.hex())

    check = check_signed([odd], keys=[known(OTHER.hex())])

    assert (check.signature, check.key_differs) == ("unverified", True)


def test_the_key_of_the_meter_comes_before_that_of_its_evse_and_station():
    station, evse = known("a"), known("b", evse_id=1)
    meter, announced = known("c", serial="S"), known("d", source=KeySource.ANNOUNCED, serial="S")
    keys = [announced, station, evse, meter]

    def chosen(serial, evse_id, among=keys):
        key = choose_key(among, serial=serial, evse_id=evse_id)
        return None if key is None else key.public_key

    assert [chosen("S", 1), chosen("T", 1), chosen("T", 2), chosen(None, None)] == list("cbaa")
    assert chosen("S", 1, [announced]) == "d"
    assert chosen("T", 1, [announced]) is None


@pytest.mark.parametrize("text", ["", "zz", "04", "00ff", POINT.hex()[:-2], "x" * 20_000, RSA])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(Invalid) as refused:
        check_key(text)

    assert refused.value.field == "public_key"


def test_without_a_key_nothing_is_verified_and_nothing_is_wrong():
    check = check_signed([one(SESSION)], energy_wh=Decimal(12500))

    assert check.signature is Signature.UNVERIFIED
    assert check.problems == ()


def test_the_key_may_come_with_one_of_the_readings_only():
    """MV-17."""
    begin = one(signed(payload(reading("B", 1))), public_key=DER.hex())
    end = one(signed(payload(reading("E", 2))))

    check = check_signed([begin, end])

    assert check.signature is Signature.VALID
    assert check.energy_wh == 1000


def test_a_difference_from_the_billed_energy_is_reported():
    check = check_signed([one(SESSION)], energy_wh=Decimal(13000))

    assert check.energy_wh == 12500
    assert check.problems == ("the meter signed 12.5 kWh, billed are 13 kWh",)


def test_a_meter_error_is_reported():
    data = signed(payload(reading("B", 1), reading("E", 2, ST="T")))

    assert "error" in check_signed([one(data)]).problems[0]


@pytest.mark.parametrize("algorithm", ["RSA-2048", "ECDSA-secp192k1-SHA256", "ECDSA-x-MD5", ""])
def test_an_unknown_algorithm_leaves_it_unverified(algorithm):
    data = signed(payload(reading("B", 1)), algorithm=algorithm or "x")

    verdict, problem = verify(parse_ocmf(data), DER.hex())

    assert verdict is Signature.UNVERIFIED
    assert problem


@pytest.mark.parametrize(
    "key", ["", "zz", "00ff", "AAAA", "-----BEGIN X-----", "oca:base16:asn1:12"]
)
def test_a_key_that_cannot_be_read_leaves_it_unverified(key):
    assert verify(parse_ocmf(SESSION), key)[0] is Signature.UNVERIFIED


def test_a_key_of_another_kind_leaves_it_unverified():
    key = rsa.generate_private_key(65537, 2048).public_key()
    text = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()

    assert verify(parse_ocmf(SESSION), text)[0] is Signature.UNVERIFIED


@pytest.mark.parametrize(
    "data",
    ["", "x", "OCMF|", "OCMF|{}", "OCMF|{}|", "OCMF|[]|{}", "OCMF|{}|{}", 'OCMF|{}|{"SD": "zz"}',
     'OCMF|{}|{"SD": 5}', "{", '{"signedMeterData": 5}', "[" * 90_000, "x" * 200_000],
    ids=lambda data: data[:20],
)  # fmt: skip
def test_what_is_no_ocmf_is_refused(data):
    with pytest.raises(Invalid):
        parse_ocmf(data)


def test_other_formats_stay_unverified_without_complaint():
    check = check_signed([SignedReading(nature="End", data="<edl/>", method="EDL")])

    assert check == check_signed([])
    assert check.signature is Signature.UNVERIFIED


def test_no_broken_data_set_brings_it_down():
    rng = random.Random("ocmf")
    for _ in range(500):
        text = list(SESSION)
        for _ in range(rng.randint(1, 4)):
            text[rng.randrange(len(text))] = rng.choice('{}[]|",:x\x00é9')
        check_signed([one("".join(text), public_key=DER.hex())], energy_wh=Decimal(1))
