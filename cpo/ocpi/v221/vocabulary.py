"""What the chapters of the 2.2.1 codec, and of those that extend it, are made with."""

from dataclasses import dataclass

from cpo.ocpi.v221 import wire, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The models of a version, and the words it has for tokens."""

    session: type[wire.Session] = wire.Session
    cdr: type[wire.Cdr] = wire.Cdr
    tariff: type[wire.Tariff] = wire.Tariff
    token: type[wire.Token] = wire.Token
    start_session: type[wire.StartSession] = wire.StartSession
    reserve_now: type[wire.ReserveNow] = wire.ReserveNow
    client_info: type[wire.ClientInfo] = wire.ClientInfo
    token_types: frozenset[str] = words.TOKEN_TYPES


class Chapter:
    """A part of a codec."""

    version = "2.2.1"
    _words = Vocabulary()
