"""cpo/ocpp/server.py: the door, over real sockets on loopback."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs
from waiting import LONG, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.headers import build_authorization_basic

from cpo.domain.values import replace
from cpo.errors import StationOffline
from cpo.ocpp import frames
from cpo.ocpp.credentials import StationCredentials
from cpo.ocpp.frames import Fault
from cpo.ocpp.limits import RefusedAttempts, Turnstile
from cpo.ocpp.server import OcppServer, OcppServerSettings
from cpo.ocpp.session import Inbound, Session, SessionLimits

PASSWORD = "0123456789abcdef"


class Directory:
    """Stations of the test."""

    def __init__(self) -> None:
        self.stations: dict[str, StationCredentials] = {}
        self.passwords: dict[str, set[str]] = {}
        self.registered: list[str] = []

    def add(self, identity: str, passwords: tuple[str, ...] = (PASSWORD,), **fields: Any) -> None:
        self.stations[identity] = StationCredentials(
            identity=identity, has_password=bool(passwords), **fields
        )
        self.passwords[identity] = set(passwords)

    async def fresh(self) -> bool:
        return False

    def find(self, identity: str) -> StationCredentials | None:
        return self.stations.get(identity)

    async def register(self, identity: str, address: str) -> StationCredentials | None:
        self.registered.append(identity)
        return StationCredentials(identity=identity, allow_without_password=True)

    def secured(self, identity: str, profile: int) -> None:
        pass

    def came_in(self, identity: str, password: bytes) -> None:
        return

    def matches(self, identity: str, password: bytes) -> bool:
        return password.decode() in self.passwords.get(identity, ())


class Echo:
    """Answers every call with the version of its session."""

    life: ClassVar[list[tuple[str, str]]] = []
    gate: asyncio.Event | None = None

    def __init__(self, session: Session) -> None:
        self.session = session

    def connected(self) -> None:
        self.life.append(("up", self.session.identity))

    def disconnected(self) -> None:
        self.life.append(("down", self.session.identity))

    async def handle(self, call: Inbound) -> str:
        if self.gate is not None:
            await self.gate.wait()
        return frames.result_text(call.message_id, {"version": self.session.rules.version})

    def faulted(self, fault: Fault, text: str) -> None:
        return

    def sent(self, action: str, message_id: str, payload: str, answer: str | None) -> None:
        return

    def deviates(self, what: str) -> None:
        self.life.append((what, self.session.identity))

    def stray(self, message_id: str, action: str | None, text: str) -> None:
        return


class Door:
    """A running server and how to knock at it."""

    def __init__(self, server: OcppServer, port: int, directory: Directory) -> None:
        self.server = server
        self.port = port
        self.directory = directory

    def connect(
        self,
        path: str = "/ocpp/CP1",
        *,
        user: str | None = "CP1",
        password: str = PASSWORD,
        subprotocols: list[str] | None = None,
        **options: Any,
    ) -> connect:
        headers = dict(options.pop("headers", {}))
        if user is not None:
            headers["Authorization"] = build_authorization_basic(user, password)
        return connect(
            f"ws://127.0.0.1:{self.port}{path}",
            subprotocols=(["ocpp1.6"] if subprotocols is None else subprotocols) or None,
            additional_headers=headers,
            proxy=None,
            **{"ping_interval": None, "open_timeout": LONG, **options},
        )

    async def refusal(self, *args: Any, **options: Any) -> InvalidStatus:
        with pytest.raises(InvalidStatus) as caught:
            await self.connect(*args, **options)
        return caught.value


DoorMaker = Callable[..., Awaitable[Door]]


@pytest.fixture
async def open_door() -> AsyncIterator[DoorMaker]:
    servers: list[OcppServer] = []
    Echo.life = []
    Echo.gate = None

    async def make(**settings: Any) -> Door:
        directory = Directory()
        directory.add("CP1")
        defaults = OcppServerSettings(
            host="127.0.0.1", port=0, connects_per_minute=0, accepts_per_second=0, drain_timeout=0.5
        )
        server = OcppServer(
            replace(defaults, **settings),
            directory,
            lambda session, credentials: Echo(session),
        )
        port = await server.start()
        servers.append(server)
        return Door(server, port, directory)

    yield make
    for server in servers:
        await server.stop()


@pytest.fixture
async def door(open_door: DoorMaker) -> Door:
    return await open_door()


async def ask(socket: ClientConnection, message_id: str = "1") -> Any:
    await socket.send(json.dumps([2, message_id, "Heartbeat", {}]))
    return json.loads(await socket.recv())


async def test_tr01_a_known_station_comes_in_and_is_answered(door: Door) -> None:
    async with door.connect() as socket:
        assert socket.subprotocol == "ocpp1.6"
        assert await ask(socket) == [3, "1", {"version": "1.6"}]
        assert door.server.online == 1


@pytest.mark.parametrize(
    ("offered", "chosen", "version"),
    [
        pytest.param(["ocpp0.1", "ocpp1.6"], "ocpp1.6", "1.6", id="TR-02"),
        pytest.param(["ocpp1.6", "ocpp2.0.1"], "ocpp1.6", "1.6", id="TR-03 client order"),
        pytest.param(["ocpp2.0.1", "ocpp1.6"], "ocpp2.0.1", "2.0.1", id="TR-03 other order"),
        pytest.param(["ocpp2.1"], "ocpp2.1", "2.1", id="2.1"),
    ],
)
async def test_tr02_tr03_the_clients_order_decides(
    door: Door, offered: list[str], chosen: str, version: str
) -> None:
    async with door.connect(subprotocols=offered) as socket:
        assert socket.subprotocol == chosen
        assert (await ask(socket))[2]["version"] == version


async def test_tr03_a_station_may_be_pinned_to_a_version(door: Door) -> None:
    door.directory.add("CP1", versions=("2.0.1",))

    async with door.connect(subprotocols=["ocpp1.6", "ocpp2.0.1"]) as socket:
        assert socket.subprotocol == "ocpp2.0.1"


@pytest.mark.parametrize("offered", [["ocpp0.1"], []])
async def test_tr04_tr05_without_common_version_the_handshake_ends_and_the_line_is_closed(
    door: Door, offered: list[str]
) -> None:
    async with door.connect(subprotocols=offered) as socket:
        assert socket.subprotocol is None
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert Echo.life == []


async def test_tr05_a_station_may_be_assumed_to_speak_a_version(door: Door) -> None:
    door.directory.add("CP1", assume_version="1.6")

    async with door.connect(subprotocols=[]) as socket:
        assert await ask(socket) == [3, "1", {"version": "1.6"}]


async def test_tr10_the_subprotocol_decides_not_the_path(door: Door) -> None:
    async with door.connect("/ocpp/1.6/CP1", subprotocols=["ocpp2.0.1"]) as socket:
        assert (await ask(socket))[2]["version"] == "2.0.1"


async def test_s1_unknown_identity_and_wrong_password_get_the_same_bytes(door: Door) -> None:
    answers = [
        await door.refusal("/ocpp/NOBODY", user="NOBODY"),
        await door.refusal(password="wrong-password-16"),
        await door.refusal(user=None),
        await door.refusal(user="CP2"),
    ]

    def visible(answer: InvalidStatus) -> tuple[Any, ...]:
        response = answer.response
        headers = {k: v for k, v in response.headers.raw_items() if k != "Date"}
        return response.status_code, response.reason_phrase, headers, response.body

    assert visible(answers[0])[0] == 401
    assert len({repr(visible(answer)) for answer in answers}) == 1
    assert "Server" not in answers[0].response.headers


async def test_tr06_the_status_for_unknown_identities_is_a_setting(open_door: DoorMaker) -> None:
    door = await open_door(unknown_identity_status=404)

    assert (await door.refusal("/ocpp/NOBODY", user="NOBODY")).response.status_code == 404


async def test_tr06_q3_refused_attempts_are_counted_and_listed(open_door: DoorMaker) -> None:
    """For onboarding, with the raw path; nothing is kept of strangers on disk."""
    door = await open_door()
    for _ in range(2):
        await door.refusal("/ocpp/NOBODY?x=1", user="NOBODY")
    await door.refusal(password="x" * 16)
    await door.refusal("/ocpp/%00")

    seen = [(r.identity, r.path, r.reason, r.count) for r in door.server.refused.all()]

    assert seen == [
        ("", "/ocpp/%00", "path", 1),
        ("CP1", "/ocpp/CP1", "wrong or no credentials", 1),
        ("NOBODY", "/ocpp/NOBODY?x=1", "unknown identity", 2),
    ]
    assert {r.address for r in door.server.refused.all()} == {"127.0.0.1"}
    assert door.directory.registered == []


async def test_tr06_the_list_of_refused_attempts_is_bounded() -> None:
    refused = RefusedAttempts(most=10)
    for number in range(100):
        at = datetime(2026, 6, 1, tzinfo=UTC)
        refused.add(f"CP{number}", "/" * 5000, "127.0.0.1", "unknown identity", at=at)

    assert [r.identity for r in refused.all()] == [f"CP{n}" for n in range(99, 89, -1)]
    assert all(len(r.path) == 200 for r in refused.all())


async def test_sec24_headers_of_proxies_prove_nothing(open_door: DoorMaker) -> None:
    """Neither an address nor a certificate is taken on the word of a header."""
    door = await open_door()
    door.directory.add("CP3", security_profile=3)
    claims = {
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "https",
        "X-SSL-Client-S-DN": "CN=CP3",
        "X-Client-Cert": "CN=CP3",
        "Forwarded": "for=192.0.2.1;proto=https",
    }

    refusal = await door.refusal("/ocpp/CP3", user="CP3", headers=claims)
    for number in range(20):
        claims["X-Forwarded-For"] = f"192.0.2.{number}"
        last = await door.refusal(password="x" * 16, headers=claims)

    assert refusal.response.status_code == 401
    assert last.response.status_code == 429
    assert {r.address for r in door.server.refused.all()} == {"127.0.0.1"}


async def test_tr07_unknown_stations_may_be_registered(open_door: DoorMaker) -> None:
    door = await open_door(unknown_stations="register")

    async with door.connect("/ocpp/NEW", user=None) as socket:
        await ask(socket)
    assert door.directory.registered == ["NEW"]


@pytest.mark.parametrize("path", ["/ocpp/CP1%2f..", "/ocpp/%00", "/ocpp/..", "/", "/ocpp"])
async def test_tr08_s11_odd_paths_are_not_found(door: Door, path: str) -> None:
    assert (await door.refusal(path)).response.status_code == 404


async def test_s27_an_origin_header_is_refused(door: Door) -> None:
    refusal = await door.refusal(origin="https://evil.example")

    assert refusal.response.status_code == 403


async def test_tr17_a_plain_get_is_told_to_upgrade(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"Traceback" not in answer


@pytest.mark.parametrize("begun", [b"", b"GET /ocpp/CP1 HT"])
async def test_tr16_a_handshake_that_never_comes_is_dropped(
    open_door: DoorMaker, begun: bytes
) -> None:
    door = await open_door(handshake_timeout=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(begun)

    async with asyncio.timeout(LONG):
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
    writer.close()

    assert answer == b""
    assert door.server.online == 0


async def test_s2_guessing_is_slowed_and_the_real_charger_still_gets_in(
    open_door: DoorMaker,
) -> None:
    door = await open_door(failed_logins_per_minute=3)
    statuses = [
        (await door.refusal(password=f"wrong-password-{n}")).response.status_code for n in range(6)
    ]

    assert statuses == [401, 401, 401, 429, 429, 429]
    async with door.connect() as socket:
        await ask(socket)


async def test_s2_guessing_at_unknown_identities_is_slowed_alike(open_door: DoorMaker) -> None:
    door = await open_door(failed_logins_per_minute=2)
    statuses = [
        (await door.refusal("/ocpp/NOBODY", user="NOBODY")).response.status_code for _ in range(3)
    ]

    assert statuses == [401, 401, 429]


async def test_a_flapping_station_is_told_to_wait(open_door: DoorMaker) -> None:
    door = await open_door(connects_per_minute=2)
    for _ in range(2):
        async with door.connect():
            pass

    refusal = await door.refusal()

    assert refusal.response.status_code == 429
    assert int(refusal.response.headers["Retry-After"]) >= 1


async def test_tr27_too_many_handshakes_are_told_to_come_back(open_door: DoorMaker) -> None:
    door = await open_door(accepts_per_second=0.01)

    async def knock() -> int:
        try:
            async with door.connect():
                return 101
        except InvalidStatus as refusal:
            assert 1 <= int(refusal.response.headers["Retry-After"]) <= 100  # noqa: PT017
            return refusal.response.status_code

    statuses = await asyncio.gather(*(knock() for _ in range(6)))

    assert sorted(statuses) == [101, 503, 503, 503, 503, 503]


async def test_above_the_connection_cap_stations_are_told_to_come_back(
    open_door: DoorMaker,
) -> None:
    door = await open_door(max_connections=1)
    door.directory.add("CP2")
    async with door.connect() as socket:
        await ask(socket)
        refusal = await door.refusal("/ocpp/CP2", user="CP2")

        assert refusal.response.status_code == 503


async def test_tr21_i16_the_newest_connection_wins_and_the_old_ones_end_changes_nothing(
    door: Door,
) -> None:
    async with door.connect() as first:
        await ask(first)
        async with door.connect() as second:
            await ask(second)
            with pytest.raises(ConnectionClosed) as caught:
                await first.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1008
            await until(lambda: ("down", "CP1") in Echo.life)

            assert await ask(second, "2") == [3, "2", {"version": "1.6"}]
            assert door.server.session("CP1") is not None


async def test_tr22_s3_wrong_credentials_never_end_a_live_connection(door: Door) -> None:
    async with door.connect() as first:
        await ask(first)
        with pytest.raises(InvalidHandshake):
            await door.connect(password="wrong-password-16")

        assert await ask(first, "2") == [3, "2", {"version": "1.6"}]


async def test_tr21_calls_to_a_replaced_connection_fail_at_once(door: Door) -> None:
    async with door.connect() as first:
        await ask(first)
        session = door.server.session("CP1")
        assert session is not None
        ours = [
            asyncio.create_task(session.call("ClearCache", {}, timeout=10 * LONG)) for _ in "ab"
        ]
        assert json.loads(await first.recv())[2] == "ClearCache"
        async with door.connect() as second:
            await ask(second)
            async with asyncio.timeout(LONG):
                results = await asyncio.gather(*ours, return_exceptions=True)

    assert [type(result) for result in results] == [StationOffline] * 2


async def test_tr24_many_take_overs_keep_the_newest(door: Door) -> None:
    """And raise an alarm once there were ten within a minute."""
    with capture_logs() as lines:
        sockets = [await door.connect() for _ in range(12)]

    told = [line["alarm"] for line in lines if line["event"] == "ocpp.connection_superseded"]
    assert told == [False] * 9 + [True] * 2
    assert (await ask(sockets[-1]))[0] == 3
    for socket in sockets:
        await socket.close()


async def test_tr24_two_that_share_an_identity_are_told_of_at_the_default_limits(
    open_door: DoorMaker,
) -> None:
    """The limit on connections slows them down, and does not hide them."""
    door = await open_door(connects_per_minute=OcppServerSettings().connects_per_minute)
    refused = 0
    with capture_logs() as lines:
        async with asyncio.timeout(LONG):
            while not any(line.get("alarm") for line in lines):
                try:
                    await door.connect(close_timeout=0.1)
                except InvalidStatus as refusal:
                    assert refusal.response.status_code == 429  # noqa: PT017
                    refused += 1
                    await asyncio.sleep(0.5)

    replaced = [line for line in lines if line["event"] == "ocpp.connection_superseded"]
    assert len(replaced) == 10
    assert refused


OFFER = "Sec-WebSocket-Extensions"


async def test_tr12_compression_is_negotiated_with_who_offers_it(open_door: DoorMaker) -> None:
    door = await open_door()

    async with door.connect() as socket:
        assert socket.response is not None
        agreed = socket.response.headers[OFFER]
        assert "permessage-deflate" in agreed
        assert "server_no_context_takeover" in agreed
        assert "client_no_context_takeover" in agreed
        await ask(socket)
        await ask(socket, "2")
    async with door.connect(compression=None) as socket:
        assert socket.response is not None
        assert OFFER not in socket.response.headers
        await ask(socket)


async def test_tr12_q9_compression_is_off_by_setting_and_by_habit(open_door: DoorMaker) -> None:
    plain, door = await open_door(compression=False), await open_door()
    door.directory.add("CP1", compression=False)

    for one in (plain, door):
        async with one.connect() as socket:
            assert socket.response is not None
            assert OFFER not in socket.response.headers
            await ask(socket)


async def test_tr14_fragments_and_binary_frames_are_one_message(door: Door) -> None:
    async with door.connect() as socket:
        await socket.send(["[2,", '"1","Heart', 'beat",{}]'])
        assert json.loads(await socket.recv())[1] == "1"
        await socket.send(b'[2,"2","Heartbeat",{}]')
        assert json.loads(await socket.recv())[1] == "2"


async def test_tr14_every_binary_frame_is_counted_and_a_strict_station_may_send_none(
    door: Door,
) -> None:
    door.directory.add("CP2", strict=True)
    async with door.connect() as socket:
        await socket.send(b'[2,"1","Heartbeat",{}]')
        await socket.recv()
        await ask(socket, "2")
    assert [what for what, _ in Echo.life].count("binary frame") == 1
    async with door.connect("/ocpp/CP2", user="CP2") as socket:
        await ask(socket)
        await socket.send(b'[2,"2","Heartbeat",{}]')
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()

    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1003


@pytest.mark.parametrize("path", ["/ocpp/CP1/", "/ocpp//CP1", "/ocpp/CP1?x=1"])
async def test_tr09_odd_paths_are_forgiven_but_to_a_strict_station(door: Door, path: str) -> None:
    async with door.connect(path) as socket:
        await ask(socket)
        assert door.server.session("CP1") is not None
    door.directory.add("CP1", strict=True)

    assert (await door.refusal(path)).response.status_code == 404
    async with door.connect() as socket:
        await ask(socket)


async def test_tr08_an_identity_with_a_space_is_matched_decoded(door: Door) -> None:
    door.directory.add("RDAM 123")

    async with door.connect("/ocpp/RDAM%20123", user="RDAM 123") as socket:
        await ask(socket)
        assert door.server.session("RDAM 123") is not None


async def test_tr11_an_identity_of_48_characters_comes_in_a_longer_one_is_not_found(
    door: Door,
) -> None:
    identity = "x" * 48
    door.directory.add(identity)

    async with door.connect(f"/ocpp/{identity}", user=identity) as socket:
        await ask(socket)
    assert (await door.refusal(f"/ocpp/{'x' * 49}")).response.status_code == 404


async def test_tr15_s9_a_message_that_is_too_long_ends_the_connection(
    open_door: DoorMaker,
) -> None:
    door = await open_door(max_frame_bytes=1000)
    async with door.connect() as socket:
        await socket.send("x" * 1001)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()

        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
    async with door.connect() as socket:
        await ask(socket)


async def test_text_that_is_no_utf8_ends_the_connection(door: Door) -> None:
    async with door.connect() as socket:
        await socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()

        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1007


async def test_tr18_pings_are_answered_and_silent_stations_are_cut(open_door: DoorMaker) -> None:
    door = await open_door(ping_interval=0.04, ping_timeout=3)
    async with door.connect(close_timeout=0.1) as socket:
        assert await (await socket.ping()) >= 0
        await asyncio.sleep(0.3)
        await ask(socket)  # it answers our pings, so it is still there
        socket.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: door.server.online == 0)


async def test_tr19_a_station_that_cannot_pong_is_left_alone(open_door: DoorMaker) -> None:
    door = await open_door(ping_interval=0.02, ping_timeout=0.02)
    door.directory.add("CP1", pings=False)
    async with door.connect() as socket:
        socket.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.2)
        assert door.server.online == 1
        socket.transport.resume_reading()  # type: ignore[attr-defined]
        await ask(socket)


async def test_tr19_bo13_a_station_that_cannot_pong_is_given_up_without_heartbeats(
    open_door: DoorMaker,
) -> None:
    """Alive while its heartbeats come; three of them missed, and it is gone."""
    door = await open_door(ping_interval=0.05, ping_timeout=0.05, silence_timeout=1)
    door.directory.add("CP1", pings=False)
    async with door.connect(close_timeout=0.1) as socket:
        for number in range(12):
            await ask(socket, str(number))
            await asyncio.sleep(0.1)
        assert door.server.online == 1
        await until(lambda: door.server.online == 0)


async def test_tr26_i20_stopping_lets_the_answer_out_and_closes_with_1001(
    open_door: DoorMaker,
) -> None:
    door = await open_door(drain_timeout=20)
    Echo.gate = asyncio.Event()
    async with door.connect() as socket:
        await socket.send('[2,"1","Heartbeat",{}]')
        await until(lambda: any(session.busy for session in door.server.sessions()))
        stopping = asyncio.create_task(door.server.stop())
        await asyncio.sleep(0.02)
        Echo.gate.set()

        assert json.loads(await socket.recv())[1] == "1"
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code in (1001, 1012)
        await stopping


async def test_i20_a_handshake_that_dawdles_does_not_hold_the_way_out(
    open_door: DoorMaker,
) -> None:
    door = await open_door(handshake_timeout=30, drain_timeout=0.3)
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"GET /ocpp/CP1 HT")
    await asyncio.sleep(0.02)

    async with asyncio.timeout(25):
        await door.server.stop()
    writer.close()


async def test_sec08_a_flood_is_slowed_and_others_are_not(open_door: DoorMaker) -> None:
    door = await open_door(limits=SessionLimits(messages_per_second=10, messages_burst=5))
    door.directory.add("CP2")
    async with door.connect() as flood, door.connect("/ocpp/CP2", user="CP2") as other:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(30):
            await flood.send(json.dumps([2, str(number), "Heartbeat", {}]))
        asking = asyncio.create_task(ask(other))
        for number in range(30):
            assert json.loads(await flood.recv())[1] == str(number)
        assert loop.time() - started >= 2.4
        assert asking.done()
        await asking


async def frames_of(socket: ClientConnection) -> AsyncIterator[str | bytes]:
    """Yield what comes until the line is closed, in whatever way."""
    with contextlib.suppress(ConnectionClosed):
        async for frame in socket:
            yield frame


async def test_sec08_a_flood_that_does_not_end_is_closed_and_others_are_not(
    open_door: DoorMaker,
) -> None:
    limits = SessionLimits(messages_per_second=100, messages_burst=5, flood_until_closed=20)
    door = await open_door(limits=limits)
    door.directory.add("CP2")
    async with door.connect() as flood, door.connect("/ocpp/CP2", user="CP2") as other:
        for number in range(1000):
            with contextlib.suppress(ConnectionClosed):
                await flood.send(json.dumps([2, str(number), "Heartbeat", {}]))
        answers = [json.loads(answer)[1] async for answer in frames_of(flood)]
        await ask(other)

    assert flood.close_code == 1008
    # What was taken in was answered, and nothing of the rest.
    assert answers == [str(number) for number in range(len(answers))]
    assert 5 <= len(answers) < 1000


async def test_sec08_a_station_that_waits_for_its_answers_is_never_closed(
    open_door: DoorMaker,
) -> None:
    """The backlog of an offline night comes as fast as it is taken in."""
    limits = SessionLimits(messages_per_second=200, messages_burst=1, flood_until_closed=10)
    door = await open_door(limits=limits)
    async with door.connect() as station:
        for number in range(60):
            await station.send(json.dumps([2, f"a{number}", "Heartbeat", {}]))
            await station.send(json.dumps([2, f"b{number}", "Heartbeat", {}]))
            assert json.loads(await station.recv())[1] == f"a{number}"
            assert json.loads(await station.recv())[1] == f"b{number}"


async def test_sec03_profile_0_is_only_for_stations_that_are_allowed_it(door: Door) -> None:
    """It is loud about each that comes in so."""
    door.directory.add("OPEN", allow_without_password=True, passwords=())
    with capture_logs() as lines:
        async with door.connect("/ocpp/OPEN", user=None) as socket:
            await ask(socket)
        assert (await door.refusal(user=None)).response.status_code == 401

    loud = [line for line in lines if line["event"] == "ocpp.not_authenticated"]
    assert [(line["station"], line["log_level"]) for line in loud] == [("OPEN", "warning")]


async def test_sec15_both_passwords_hold_during_a_rotation(door: Door) -> None:
    door.directory.add("CP1", passwords=(PASSWORD, "the-new-password"))
    for password in (PASSWORD, "the-new-password"):
        async with door.connect(password=password) as socket:
            await ask(socket)


async def test_s5_a_station_of_profile_2_may_not_come_without_tls(door: Door) -> None:
    door.directory.add("CP1", security_profile=2)

    assert (await door.refusal()).response.status_code == 401


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
async def test_messages_of_every_size_come_and_go_whole(door: Door, size: int) -> None:
    """The lengths at which RFC 6455 changes the way a frame is written."""
    async with door.connect(max_size=None) as socket:
        message_id = "x" * 8
        await socket.send(json.dumps([2, message_id, "Heartbeat", {"pad": "p" * size}]))
        assert json.loads(await socket.recv())[1] == message_id


async def test_frames_that_come_in_pieces_or_many_at_once_are_the_same_frames(door: Door) -> None:
    async with door.connect() as socket:
        wire = bytearray()
        for number in range(5):
            text = json.dumps([2, f"piece-{number}", "Heartbeat", {"pad": "p" * 60 * number}])
            frame = Frame(Opcode.TEXT, text.encode())
            wire += frame.serialize(mask=True)
        wire += Frame(Opcode.PING, b"hello").serialize(mask=True)
        wire += Frame(Opcode.TEXT, b'[2,"last","Heartbeat",{}]').serialize(mask=True)
        for cut in (len(wire), 1, 7, 100):
            for start in range(0, len(wire), cut):
                socket.transport.write(bytes(wire[start : start + cut]))  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            answers = [json.loads(await socket.recv())[1] for _ in range(6)]
            assert answers == [f"piece-{number}" for number in range(5)] + ["last"]


async def test_an_unmasked_frame_is_a_protocol_error(door: Door) -> None:
    async with door.connect() as socket:
        socket.transport.write(b"\x81\x02{}")  # type: ignore[attr-defined]
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()

        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1002


async def test_tr13_a_compressed_frame_without_negotiation_is_a_protocol_error(door: Door) -> None:
    async with door.connect() as socket:
        socket.transport.write(b"\xc1\x82\0\0\0\0xx")  # type: ignore[attr-defined]
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()

        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1002


async def test_tr27_five_hundred_that_come_at_once_are_all_in_and_answered(
    open_door: DoorMaker,
) -> None:
    """Whoever is told to come back comes back when told; nobody's first call is lost."""
    door = await open_door(accepts_per_second=OcppServerSettings().accepts_per_second)
    names = [f"S{number}" for number in range(500)]
    for name in names:
        door.directory.add(name)
    delayed = []

    async def come(name: str) -> ClientConnection:
        while True:
            try:
                socket = await door.connect(f"/ocpp/{name}", user=name)
            except InvalidStatus as refusal:
                assert refusal.response.status_code == 503  # noqa: PT017
                delayed.append(name)
                await asyncio.sleep(int(refusal.response.headers["Retry-After"]))
            else:
                assert await ask(socket, name) == [3, name, {"version": "1.6"}]
                return socket

    async with asyncio.timeout(LONG):
        sockets = await asyncio.gather(*(come(name) for name in names))

    assert door.server.online == 500
    assert set(delayed) < set(names)
    await asyncio.gather(*(socket.close() for socket in sockets))


async def test_tr27_whom_the_limit_turned_away_gets_in_after_its_patience() -> None:
    now = 0.0
    turnstile = Turnstile(rate=1, clock=lambda: now, patience=15)
    assert turnstile.take("CP0", known=True)
    turned_away = [f"CP{number}" for number in range(1, 41)]
    assert not any(turnstile.take(identity, known=True) for identity in turned_away)
    assert turnstile.wait() == 15

    now = 15.0
    assert turnstile.take("CP99", known=True)  # the one for whom there is room
    assert not turnstile.take("CP98", known=True)
    assert all(turnstile.take(identity, known=True) for identity in turned_away)


async def test_tr27_a_wait_nobody_came_back_from_is_forgotten_and_strangers_push_nobody_out() -> (
    None
):
    now = 0.0
    turnstile = Turnstile(rate=0.001, clock=lambda: now, patience=15, capacity=2)
    assert turnstile.take("first", known=True)
    assert not turnstile.take("CP1", known=True)
    for number in range(5):
        assert not turnstile.take(f"stranger {number}", known=False)

    now = 15.0
    assert turnstile.take("CP1", known=True)
    assert not turnstile.take("stranger 0", known=False)  # pushed out by those after it
    now = 100.0
    assert not turnstile.take("stranger 4", known=False)  # its wait was long ago
