"""Exact amounts: currencies, rounding, and parts that still add up after rounding.

An amount is a ``Fraction`` inside and a ``Decimal`` once it leaves: hours divide by 3600 and
prices including tax divide by the rate, so no decimal context would hold every digit.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_THREE = "BHD IQD JOD KWD LYD OMR TND"
_WITH_FOUR = "CLF UYW"
_WITH_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN "
    "BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP "
    "GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT "
    "LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO "
    "NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS "
    "SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD "
    "XCG YER ZAR ZMW ZWG ZWL"
)

CURRENCIES: dict[str, int] = {
    code: decimals
    for codes, decimals in (
        (_WITHOUT_DECIMALS, 0),
        (_WITH_TWO, 2),
        (_WITH_THREE, 3),
        (_WITH_FOUR, 4),
    )
    for code in codes.split()
}
"""Decimals of each ISO 4217 currency. A code that is not here cannot be billed."""

_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)


def round_half_up(amount: Fraction | int, places: int, per: int = 1) -> Decimal:
    """Round an exact amount, divided by ``per``, to that many decimals, half away from zero."""
    denominator = amount.denominator * per
    doubled = 2 * 10**places * abs(amount.numerator)
    units = (doubled + denominator) // (2 * denominator)
    return Decimal(-units if amount < 0 else units).scaleb(-places, _WIDE)


def plain(value: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def share_out(
    total: Decimal, parts: Sequence[Fraction | int], places: int, per: int = 1
) -> list[Decimal]:
    """Round parts, each divided by ``per``, so that they add up to a rounded total.

    Each part is cut to ``places`` decimals; what is left over goes, one unit each, to the parts
    that lost most. A total further off than one unit a part (a price limit) leaves them as they
    round by themselves.
    """
    fine = 10 ** (places + 9)
    cut = [divmod(part.numerator * fine // (part.denominator * per), 10**9) for part in parts]
    units = [whole for whole, _ in cut]
    missing = int(total.scaleb(places)) - sum(units)
    if not 0 <= missing <= len(parts):
        return [round_half_up(part, places, per) for part in parts]
    if missing:
        by_loss = sorted(range(len(parts)), key=lambda i: -cut[i][1])
        for i in by_loss[:missing]:
            units[i] += 1
    return [Decimal(value).scaleb(-places, _WIDE) for value in units]
