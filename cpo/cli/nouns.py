"""Nouns with verbs: `cpo station list`, `cpo tariff put`, … They talk to the operator API."""

import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cpo import errors
from cpo.cli.client import OperatorApi, quoted
from cpo.cli.output import FAILED, REFUSED, print_list, print_object

API = "/api/v1"
FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)

COLUMNS = {
    "station": ["identity", "online", "version", "vendor", "model", "firmware", "last_seen"],
    "location": ["id", "name", "city", "country", "publish", "last_updated"],
    "tariff": ["id", "currency", "type", "last_updated"],
    "token": ["uid", "type", "contract_id", "valid", "whitelist"],
    "partner": ["id", "name", "status", "version", "last_error"],
    "session": [
        *("id", "status", "evse_uid", "start_date_time", "kwh", "currency"),
        *("total_cost.excl_vat", "total_cost.incl_vat"),
    ],
    "cdr": [
        *("id", "session_id", "start_date_time", "kwh", "currency"),
        *("total_cost.excl_vat", "total_cost.incl_vat", "credit"),
    ],
    "command": ["id", "kind", "station", "state", "outcome", "created_at"],
    "job": ["id", "kind", "station", "state", "status", "attempt", "created_at"],
    "outbox": ["partner", "kind", "object", "since", "attempts", "parked", "last_error"],
}
PATHS = {noun: f"{API}/{noun}s" for noun in COLUMNS} | {"outbox": f"{API}/outbox"}


def api_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which operator API, and with which key."""
    command = click.option(
        "--key-file", type=FILE, help="File with the operator key [or CPO_KEY, CPO_KEY_FILE]."
    )(command)
    return click.option(
        "--url", envvar="CPO_URL", help="Operator API [default: operator.host and .port]."
    )(command)


def operator_api(
    config: Path | None, url: str | None, key_file: Path | None, *, timeout: float = 60
) -> OperatorApi:
    """Return the operator API that options, environment or settings name, in this order."""
    key = os.environ.get("CPO_KEY") or None
    named = key_file or (Path(name) if (name := os.environ.get("CPO_KEY_FILE")) else None)
    if named is not None:
        key = _text(named)
    if url is None or key is None:
        from cpo.cli.main import settings_from  # noqa: PLC0415 - mutual

        operator = settings_from(config).settings.operator
        if url is None:
            wild = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
            url = f"http://{wild.get(operator.host, operator.host)}:{operator.port}"
        if key is None and operator.api_keys:
            best = max(
                operator.api_keys, key=lambda k: ("admin" in k.scopes, "operate" in k.scopes)
            )
            key = best.key.get_secret_value()
    return OperatorApi(url.rstrip("/"), key, timeout)


def verb(group: click.Group, name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Register a verb; its function gets the API first and `as_json` last."""

    def register(function: Callable[..., None]) -> click.Command:
        def call(config: Path | None, url: str | None, key_file: Path | None, **given: Any) -> None:
            function(operator_api(config, url, key_file), **given)

        call.__doc__ = function.__doc__
        call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        for option in (
            click.option("--json", "as_json", is_flag=True, help="Print JSON (NDJSON for lists)."),
            api_options,
            click.option("--config", type=FILE, envvar="CPO_CONFIG", help="Settings file."),
        ):
            call = option(call)
        return group.command(name)(call)

    return register


def _text(file: Path) -> str:
    try:
        with click.open_file(str(file), encoding="utf-8") as opened:
            return str(opened.read()).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Invalid(str(file), f"cannot be read: {error}") from None


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise errors.Invalid(name, f"is not JSON: {error}") from None


def _group(noun: str, about: str) -> click.Group:
    group = click.Group(noun, help=about)
    path, columns = PATHS[noun], COLUMNS[noun]

    @verb(group, "list")
    @click.option("--limit", type=click.IntRange(1), help="At most so many.")
    def list_(api: OperatorApi, *, limit: int | None, as_json: bool) -> None:
        """List all, page after page."""
        print_list(api.pages(path, most=limit), columns, as_json=as_json)

    return group


def _show(group: click.Group, noun: str) -> None:
    @verb(group, "show")
    @click.argument("id")
    def show(api: OperatorApi, *, id: str, as_json: bool) -> None:
        """Show one."""
        print_object(api.get(f"{PATHS[noun]}/{quoted(id)}"), as_json=as_json)


def _delete(group: click.Group, noun: str) -> None:
    @verb(group, "delete")
    @click.argument("id")
    def delete(api: OperatorApi, *, id: str, as_json: bool) -> None:
        """Remove one."""
        api.request("DELETE", f"{PATHS[noun]}/{quoted(id)}")
        print_object({"deleted": id}, as_json=as_json)


def _put(group: click.Group, noun: str) -> None:
    @verb(group, "put")
    @click.argument("id")
    @click.argument("file", type=FILE)
    def put(api: OperatorApi, *, id: str, file: Path, as_json: bool) -> None:
        """Create or replace one from a JSON file (- is standard input)."""
        answer = api.request("PUT", f"{PATHS[noun]}/{quoted(id)}", _parsed(_text(file), str(file)))
        print_object(answer, as_json=as_json)


def _post(group: click.Group, noun: str, name: str, about: str) -> None:
    def post(api: OperatorApi, *, id: str, as_json: bool) -> None:
        answer = api.request("POST", f"{PATHS[noun]}/{quoted(id)}/{name}")
        print_object(answer or {name: id}, as_json=as_json)

    post.__doc__ = about
    verb(group, name)(click.argument("id")(post))


def _finished(api: OperatorApi, command: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return a command when it is done, or as it stands when the time is over."""
    deadline = time.monotonic() + seconds
    # A log or an update is a job; its states beside these are ends.
    noun = "job" if "attempt" in command else "command"
    while command.get("state") in _UNDER_WAY and time.monotonic() < deadline:
        time.sleep(0.2)
        command = api.get(f"{PATHS[noun]}/{quoted(command['id'])}")
    return command


_UNDER_WAY = frozenset({"queued", "sent", "waiting", "running"})
_JOB_ENDED_BADLY = frozenset({"failed", "timed_out", "cancelled"})


def _send(api: OperatorApi, path: str, body: Any, *, wait: float, as_json: bool) -> None:
    headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
    command = api.request("POST", path, body, headers=headers)
    command = _finished(api, command, wait)
    print_object(command, as_json=as_json)
    if command.get("outcome") not in (None, "ACCEPTED", "SCHEDULED"):
        click.get_current_context().exit(REFUSED)
    if command.get("state") in _JOB_ENDED_BADLY:
        click.get_current_context().exit(FAILED)


wait_option = click.option(
    "--wait", type=float, default=35, show_default=True, help="Seconds to wait for the outcome."
)


def _meter_keys(group: click.Group) -> None:
    def path(identity: str, name: str | None = None) -> str:
        keys = f"{API}/stations/{quoted(identity)}/meter-keys"
        return keys if name is None else f"{keys}/{quoted(name)}"

    @verb(group, "meter-keys")
    @click.argument("identity")
    def list_(api: OperatorApi, *, identity: str, as_json: bool) -> None:
        """List the public keys of its meters, registered and announced."""
        columns = ["name", "source", "evse_id", "serial", "public_key"]
        print_list(api.get(path(identity))["items"], columns, as_json=as_json)

    @verb(group, "put-meter-key")
    @click.argument("identity")
    @click.argument("name")
    @click.argument("file", type=FILE)
    @click.option("--serial", help="Serial number of the meter it belongs to.")
    @click.option("--evse", type=click.IntRange(0), help="EVSE it belongs to (1.6: connector).")
    def put(
        api: OperatorApi,
        *,
        identity: str,
        name: str,
        file: Path,
        serial: str | None,
        evse: int | None,
        as_json: bool,
    ) -> None:
        """Register a meter's public key from a file (PEM, hex or base64; - is standard input)."""
        body: dict[str, Any] = {"public_key": _text(file), "serial": serial, "evse_id": evse}
        print_object(api.request("PUT", path(identity, name), body), as_json=as_json)

    @verb(group, "delete-meter-key")
    @click.argument("identity")
    @click.argument("name")
    def delete(api: OperatorApi, *, identity: str, name: str, as_json: bool) -> None:
        """Forget a registered public key."""
        api.request("DELETE", path(identity, name))
        print_object({"deleted": name}, as_json=as_json)


def _station() -> click.Group:
    group = _group("station", "Charge points.")
    _show(group, "station")
    _delete(group, "station")

    @verb(group, "put")
    @click.argument("identity")
    @click.option("--password-file", type=FILE, help="File with its password (- is stdin).")
    @click.option("--ocpp-version", "versions", multiple=True, help="Allowed OCPP version.")
    @click.option("--security-profile", type=click.IntRange(0, 3), help="Lowest allowed.")
    @click.option("--allow-without-password", is_flag=True, help="Security profile 0.")
    def put(
        api: OperatorApi,
        *,
        identity: str,
        password_file: Path | None,
        versions: tuple[str, ...],
        security_profile: int | None,
        allow_without_password: bool,
        as_json: bool,
    ) -> None:
        """Register a station, or change it."""
        body: dict[str, Any] = {}
        if password_file is not None:
            body["password"] = _text(password_file)
        if versions:
            body["ocpp_versions"] = list(versions)
        if security_profile is not None:
            body["security_profile"] = security_profile
        if allow_without_password:
            body["allow_without_password"] = True
        answer = api.request("PUT", f"{API}/stations/{quoted(identity)}", body)
        print_object(answer, as_json=as_json)

    _meter_keys(group)

    @verb(group, "messages")
    @click.argument("identity")
    @click.option("--action", help="Only this OCPP action.")
    @click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
    def messages(
        api: OperatorApi, *, identity: str, action: str | None, limit: int, as_json: bool
    ) -> None:
        """Show the frame log, newest first."""
        path = f"{API}/stations/{quoted(identity)}/messages"
        found = api.pages(path, most=limit, action=action)
        columns = ["at", "direction", "action", "frame", "answer_frame"]
        print_list(found, columns, as_json=as_json)

    @verb(group, "unplaced")
    @click.argument("identity")
    def unplaced(api: OperatorApi, *, identity: str, as_json: bool) -> None:
        """List ended charges at EVSEs that no Location has; putting the Location settles them."""
        found = api.pages(f"{API}/stations/{quoted(identity)}/unplaced", most=500)
        columns = ["transaction", "evse_id", "started_at", "ended_at", "kwh", "id_token"]
        print_list(found, columns, as_json=as_json)

    @verb(group, "call")
    @click.argument("identity")
    @click.argument("action")
    @click.argument("payload", default="{}")
    @click.option("--timeout", type=float, help="Seconds.")
    def call(
        api: OperatorApi,
        *,
        identity: str,
        action: str,
        payload: str,
        timeout: float | None,
        as_json: bool,
    ) -> None:
        """Send any OCPP request of the station's version and show its answer."""
        body: dict[str, Any] = {"action": action, "payload": _parsed(payload, "payload")}
        if timeout is not None:
            body["timeout"] = timeout
        answer = api.request("POST", f"{API}/stations/{quoted(identity)}/call", body)
        print_object(answer, as_json=as_json)
        if answer["outcome"] != "result":
            click.get_current_context().exit(REFUSED)

    @verb(group, "command")
    @click.argument("identity")
    @click.argument("command")
    @click.argument("parameters", default="{}")
    @wait_option
    def command(
        api: OperatorApi,
        *,
        identity: str,
        command: str,
        parameters: str,
        wait: float,
        as_json: bool,
    ) -> None:
        """Send a neutral command (reset, trigger, …) with JSON parameters."""
        body = _parsed(parameters, "parameters")
        path = f"{API}/stations/{quoted(identity)}/{quoted(command)}"
        _send(api, path, body, wait=wait, as_json=as_json)

    return group


def _tariff() -> click.Group:
    group = _plain("tariff", "Tariffs.", changed=True)

    @verb(group, "try")
    @click.argument("id")
    @click.argument("session_id")
    def try_(api: OperatorApi, *, id: str, session_id: str, as_json: bool) -> None:
        """Price a past session by a tariff; nothing is kept."""
        body = {"session_id": session_id, "tariff_id": id}
        print_object(api.request("POST", f"{API}/prices/try", body), as_json=as_json)

    @verb(group, "estimate")
    @click.argument("evse_uid")
    @click.argument("kwh")
    @click.argument("seconds")
    @click.option("--parking", default="0", help="Seconds parked afterwards.")
    @click.option("--at", help="Start (RFC 3339); now unless given.")
    def estimate(
        api: OperatorApi,
        *,
        evse_uid: str,
        kwh: str,
        seconds: str,
        parking: str,
        at: str | None,
        as_json: bool,
    ) -> None:
        """Estimate what a charge at an EVSE costs by the tariff in force."""
        path = f"{API}/evses/{quoted(evse_uid)}/estimate"
        query = {"kwh": kwh, "charging_seconds": seconds, "parking_seconds": parking, "at": at}
        print_object(api.get(path, **query), as_json=as_json)

    return group


def _partner() -> click.Group:
    group = _group("partner", "OCPI partners.")
    _show(group, "partner")
    _delete(group, "partner")
    _post(group, "partner", "rotate", "Exchange the credentials' tokens for new ones.")
    _post(group, "partner", "resync", "Send all its objects again.")

    @verb(group, "invite")
    @click.argument("name")
    def invite(api: OperatorApi, *, name: str, as_json: bool) -> None:
        """Make a token A with which a partner registers with us."""
        print_object(api.request("POST", f"{API}/partners", {"name": name}), as_json=as_json)

    @verb(group, "connect")
    @click.argument("name")
    @click.argument("versions_url")
    @click.option("--token-a-file", type=FILE, required=True, help="File with its token A (-).")
    def connect(
        api: OperatorApi, *, name: str, versions_url: str, token_a_file: Path, as_json: bool
    ) -> None:
        """Register with a partner that gave us its token A."""
        token = _text(token_a_file)
        body = {"name": name, "versions_url": versions_url, "token_a": token}
        print_object(api.request("POST", f"{API}/partners/connect", body), as_json=as_json)

    @verb(group, "statement")
    @click.argument("id")
    @click.argument("month", metavar="YYYY-MM")
    @click.option("--zone", default="UTC", help="Time zone in which the month begins.")
    @click.option("--csv", is_flag=True, help="Print the lines as CSV.")
    def statement(
        api: OperatorApi, *, id: str, month: str, zone: str, csv: bool, as_json: bool
    ) -> None:
        """Sum up the CDRs and credits of a month."""
        path = f"{API}/partners/{quoted(id)}/statement"
        if csv:
            query = {"month": month, "time_zone": zone, "format": "csv"}
            click.echo(api.raw("GET", path, query=query), nl=False)
        else:
            print_object(api.get(path, month=month, time_zone=zone), as_json=as_json)

    @verb(group, "backlog")
    @click.argument("id")
    def backlog(api: OperatorApi, *, id: str, as_json: bool) -> None:
        """Show what a partner has not got yet."""
        found = api.get(f"{API}/partners/{quoted(id)}/backlog")["items"]
        columns = ["kind", "object", "since", "attempts", "parked", "last_error"]
        print_list(found, columns, as_json=as_json)

    return group


def _cdr() -> click.Group:
    group = _group("cdr", "Charge detail records.")
    _show(group, "cdr")
    _post(group, "cdr", "credit", "Issue a credit CDR.")
    _post(group, "cdr", "release", "Send one that is held to its partner.")

    @verb(group, "held")
    @click.option("--limit", type=click.IntRange(1), help="At most so many.")
    def held(api: OperatorApi, *, limit: int | None, as_json: bool) -> None:
        """List those that wait for you, with the reasons."""
        columns = ["id", "session_id", "start_date_time", "kwh", "currency", "total_cost", "hold"]
        found = api.pages(PATHS["cdr"], most=limit, held="true")
        print_list(found, columns, as_json=as_json)

    @verb(group, "explain")
    @click.argument("id")
    def explain(api: OperatorApi, *, id: str, as_json: bool) -> None:
        """Show every line of the price; with --json also the readings and frames behind it."""
        found = api.get(f"{API}/cdrs/{quoted(id)}/explain")
        if as_json:
            print_object(found, as_json=True)
            return
        for doubt in found["doubts"]:
            click.echo(f"{'HELD' if doubt['holds'] else 'noted'} {doubt['code']}: {doubt['text']}")
        for line in found["lines"]:
            click.echo(f"{line['dimension']}: {line['text']}")
            for use in line["uses"]:
                click.echo(
                    f"    {use['begins_at']} to {use['ends_at']}: {use['quantity']} "
                    f"{line['unit']}, element {use['element']} ({use['because']})"
                )

    return group


def _command() -> click.Group:
    group = _group("command", "Commands to charge points and their outcomes.")
    _show(group, "command")
    verbs = ("start", "stop", "unlock", "reserve", "cancel-reservation", "availability")

    @verb(group, "send")
    @click.argument("evse_uid")
    @click.argument("command", type=click.Choice(verbs))
    @click.argument("parameters", default="{}")
    @wait_option
    def send(
        api: OperatorApi,
        *,
        evse_uid: str,
        command: str,
        parameters: str,
        wait: float,
        as_json: bool,
    ) -> None:
        """Send a command to an EVSE with JSON parameters, and wait for its outcome."""
        body = _parsed(parameters, "parameters")
        path = f"{API}/evses/{quoted(evse_uid)}/{command}"
        _send(api, path, body, wait=wait, as_json=as_json)

    return group


def _outbox() -> click.Group:
    group = _group("outbox", "What partners have not got yet.")

    @verb(group, "show")
    @click.argument("partner")
    def show(api: OperatorApi, *, partner: str, as_json: bool) -> None:
        """Show what one partner has not got yet."""
        found = api.get(f"{API}/partners/{quoted(partner)}/backlog")["items"]
        print_list(found, COLUMNS["outbox"][1:], as_json=as_json)

    return group


def _plain(noun: str, about: str, *, changed: bool) -> click.Group:
    group = _group(noun, about)
    _show(group, noun)
    if changed:
        _put(group, noun)
        _delete(group, noun)
    return group


def _job() -> click.Group:
    group = _group("job", "Jobs at stations: logs, firmware, displays, customers, data.")
    _show(group, "job")
    _post(group, "job", "cancel", "Stop following one and withdraw its URL.")
    return group


def add_to(main: click.Group) -> None:
    """Register every noun."""
    main.add_command(_station())
    main.add_command(_job())
    main.add_command(_plain("location", "Locations with their EVSEs.", changed=True))
    main.add_command(_tariff())
    main.add_command(_plain("token", "Our own drivers' tokens.", changed=True))
    main.add_command(_partner())
    main.add_command(_plain("session", "Charging sessions.", changed=False))
    main.add_command(_cdr())
    main.add_command(_command())
    main.add_command(_outbox())
