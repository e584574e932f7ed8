"""Errors as the operator API tells them: RFC 9457 problem documents."""

import http
from typing import Any

import msgspec
from aiohttp import web

from cpo import errors
from cpo.services.files import NoRoom, TooLarge

CONTENT_TYPE = "application/problem+json"

# The one place where errors become HTTP status codes for operators.
STATUS: dict[type[errors.CpoError], int] = {
    errors.Invalid: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Refused: 403,
    errors.StationOffline: 409,
    errors.StationRefused: 502,
    errors.StationTimeout: 504,
    errors.PartnerUnreachable: 502,
    errors.StoreUnavailable: 503,
    TooLarge: 413,
    NoRoom: 507,
}


class NotJson(errors.Invalid):
    """The body is not JSON at all."""


class Unauthorized(errors.CpoError):
    """No key, or none that we know."""


class TooManyFailures(errors.CpoError):
    """This address has shown too many wrong keys; `retry_after` in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many wrong keys from this address")
        self.retry_after = retry_after


def status_of(error: errors.CpoError) -> int:
    """Return the HTTP status for an error."""
    match error:
        case NotJson():
            return 400
        case Unauthorized():
            return 401
        case TooManyFailures():
            return 429
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(status: int, detail: str, **extra: Any) -> web.Response:
    """Return a problem document."""
    body = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    } | {name: value for name, value in extra.items() if value is not None}
    return web.Response(body=msgspec.json.encode(body), status=status, content_type=CONTENT_TYPE)


def told(error: errors.CpoError) -> web.Response:
    """Return the answer for an error, with what it knows: the field, or the step."""
    match error:
        case errors.Invalid(field=field):
            return problem(status_of(error), str(error), field=field or None)
        case errors.PartnerUnreachable(step=step, detail=detail):
            return problem(status_of(error), detail, step=step)
        case errors.StationRefused(code=code):
            return problem(status_of(error), str(error), code=code)
        case TooManyFailures(retry_after=seconds):
            answer = problem(429, str(error))
            answer.headers["Retry-After"] = str(seconds)
            return answer
        case Unauthorized():
            answer = problem(401, str(error))
            answer.headers["WWW-Authenticate"] = 'Bearer realm="cpo operator API"'
            return answer
    return problem(status_of(error), str(error))
