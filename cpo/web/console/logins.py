"""Who is logged in to the console: sessions in memory, named by a cookie."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from cpo.web.auth import Actor

COOKIE = "cpo_console"
IDLE_SECONDS = 3600
LONGEST_SECONDS = 12 * 3600
MOST = 1000


@dataclass(slots=True)
class Login:
    """One logged-in browser; `form_token` goes into every form (S27)."""

    actor: Actor
    since: float
    used: float
    form_token: str


class Logins:
    """Keeps sessions under the hash of their cookie; a restart ends them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logins: dict[str, Login] = {}

    def begin(self, actor: Actor) -> str:
        """Log somebody in and return the cookie's value: always a fresh one."""
        self._sweep()
        if len(self._logins) >= MOST:
            oldest = min(self._logins, key=lambda name: self._logins[name].used)
            del self._logins[oldest]
        cookie = secrets.token_urlsafe(32)
        now = self._clock()
        self._logins[_name(cookie)] = Login(actor, now, now, secrets.token_urlsafe(24))
        return cookie

    def find(self, cookie: str | None) -> Login | None:
        """Return who a cookie stands for, None when nobody or not any more."""
        login = self._logins.get(_name(cookie)) if cookie else None
        if login is None or self._over(login):
            return None
        login.used = self._clock()
        return login

    def end(self, cookie: str | None) -> None:
        """Log somebody out."""
        if cookie:
            self._logins.pop(_name(cookie), None)

    def _over(self, login: Login) -> bool:
        now = self._clock()
        return now - login.used > IDLE_SECONDS or now - login.since > LONGEST_SECONDS

    def _sweep(self) -> None:
        for name in [name for name, login in self._logins.items() if self._over(login)]:
            del self._logins[name]


def genuine(login: Login, form_token: str) -> bool:
    """Tell whether a form came from one of our pages."""
    return hmac.compare_digest(login.form_token.encode(), form_token.encode("utf-8", "replace"))


def _name(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
