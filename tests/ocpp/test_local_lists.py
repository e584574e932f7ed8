"""AU-12, TOK-30: local lists kept in step with the tokens, over real sockets, in every version."""

from types import SimpleNamespace

import pytest

from cpo.errors import Conflict
from cpo.services.list_tokens import ListTokens
from cpo.services.local_lists import ListRules, LocalLists
from cpo.services.ports import StationDocument
from cpo.services.token_use import TokenUse
from cpo.services.withdrawals import Withdrawals


class Lists:
    """A charger's own list, as a charger that follows the books keeps it."""

    def __init__(self, version, *, enabled="true", most=1000, items=100):
        self.old = version == "1.6"
        self.enabled, self.most, self.items = enabled, most, items
        self.version = 0
        self.entries = {}
        self.sent = []
        self.refuse = []

    def install(self, charger):
        charger.answers["GetLocalListVersion"] = self.get_version
        charger.answers["SendLocalList"] = self.send
        charger.answers["GetConfiguration" if self.old else "GetVariables"] = self.variables

    def get_version(self, _):
        return {"listVersion" if self.old else "versionNumber": self.version}

    def send(self, request):
        version = request["listVersion" if self.old else "versionNumber"]
        entries = {}
        for told in request.get("localAuthorizationList", ()):
            name = told["idTag"] if self.old else told["idToken"]["idToken"]
            entries[name] = told.get("idTagInfo" if self.old else "idTokenInfo")
        self.sent.append((request["updateType"], version, sorted(entries)))
        if self.refuse:
            return {"status": self.refuse.pop(0)}
        if len(entries) > self.items:
            return {"status": "Failed"}
        if request["updateType"] == "Differential" and version <= self.version:
            return {"status": "VersionMismatch"}
        has = {} if request["updateType"] == "Full" else dict(self.entries)
        has |= {name: info for name, info in entries.items() if info is not None}
        for name in [name for name, info in entries.items() if info is None]:
            has.pop(name, None)
        if len(has) > self.most:
            return {"status": "Failed"}
        self.version, self.entries = version, has
        return {"status": "Accepted"}

    def variables(self, request):
        if self.old:
            known = {
                "LocalAuthListEnabled": self.enabled,
                "LocalAuthListMaxLength": str(self.most),
                "SendLocalListMaxLength": str(self.items),
                "SupportedFeatureProfiles": "Core,LocalAuthListManagement",
            }
            return {
                "configurationKey": [
                    {"key": key, "readonly": True, "value": known[key]} for key in request["key"]
                ]
            }
        known = {"Enabled": self.enabled, "ItemsPerMessage": str(self.items)}
        return {
            "getVariableResult": [
                {
                    "component": wanted["component"],
                    "variable": wanted["variable"],
                    **(
                        {"attributeStatus": "Accepted", "attributeValue": found}
                        if (found := known.get(wanted["variable"]["name"])) is not None
                        else {"attributeStatus": "UnknownVariable"}
                    ),
                }
                for wanted in request["getVariableData"]
            ]
        }


class World:
    """The backend with local lists and withdrawals, as the composition root wires them."""

    def __init__(self, backend, **rules):
        self.backend = backend
        now = lambda: backend.clock  # noqa: E731
        self.use = TokenUse(backend.store)
        self.lists = LocalLists(
            backend.memory,
            backend.store,
            backend.stations,
            ListTokens(
                backend.store, backend.partners, self.use, now=now, limit=rules.pop("most", 50)
            ),
            now=now,
            rules=ListRules(**{"delay": 0, "interval": 0.01, **rules}),
        )
        self.withdrawals = Withdrawals(
            backend.memory, backend.store, backend.stations, self.use, backend.commands,
            now=now, stop_sessions=True, delay=0,
        )  # fmt: skip
        backend.stations.on_boot.append(self.lists.booted)
        backend.tokens.on_change += [self.lists.tokens_changed, self.withdrawals.tokens_changed]
        backend.transactions.on_session.append(self.use.session)

    async def connect(self, version, **has):
        own = Lists(version, **has)
        charger = await self.backend.charger(version, boot=False)
        own.install(charger)
        await charger.boot()
        return charger, own

    async def until_in_step(self, own, tags):
        await self.backend.until(
            lambda: set(own.entries) == set(tags) and self.lists.view("CP1")["state"] == "in-step"
        )


@pytest.fixture
async def worlds(backend):
    made = []

    def make(**rules):
        made.append(World(backend, **rules))
        return made[-1]

    yield make
    for world in made:
        await world.lists.close()
        await world.withdrawals.close()


async def test_au12_tok30_after_a_boot_the_list_holds_the_tokens_that_may_be_listed(
    backend, worlds, version
):
    await backend.token("OWN", partner_id=None, whitelist="ALWAYS", group_id="STAFF")
    await backend.token("NEVER", whitelist="NEVER")
    await backend.token("GONE", valid=False)
    world = worlds()
    _, own = await world.connect(version)

    await world.until_in_step(own, {"OWN", "TAG"})

    assert own.sent == [("Full", 1, ["OWN", "TAG"])]
    info = own.entries["OWN"]
    assert info["status"] == "Accepted"
    assert "STAFF" in str(info)


async def test_au12_a_change_is_sent_as_the_difference_with_a_higher_version(
    backend, worlds, version
):
    world = worlds()
    _, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})
    first = own.version

    await backend.token("NEW")
    await world.until_in_step(own, {"TAG", "NEW"})

    assert own.sent[-1] == ("Differential", first + 1, ["NEW"])


async def test_au13_a_token_that_is_withdrawn_leaves_the_list(backend, worlds, version):
    world = worlds(interval=3600)
    _, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})

    await backend.token("TAG", valid=False)
    await world.until_in_step(own, set())

    assert own.sent[-1][0] == "Differential"


async def test_au12_d_a_station_that_lost_its_list_gets_all_of_it_after_its_boot(
    backend, worlds, version
):
    world = worlds()
    charger, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})
    seen = own.version
    own.version, own.entries = 0, {}

    await charger.boot()
    await world.until_in_step(own, {"TAG"})

    assert own.sent[-1] == ("Full", seen + 1, ["TAG"])


async def test_au12_a_station_in_step_is_sent_nothing_after_its_next_boot(backend, worlds, version):
    world = worlds()
    charger, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})
    asked = len(charger.asked)

    await charger.boot()
    await backend.until(lambda: len(charger.asked) > asked)

    assert charger.asked[-1][0] == "GetLocalListVersion"
    assert len(own.sent) == 1


async def test_au12_a_version_mismatch_brings_the_whole_list(backend, worlds, version):
    world = worlds()
    _, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})
    own.refuse = ["VersionMismatch"]
    own.version += 10

    await backend.token("NEW")
    await world.until_in_step(own, {"TAG", "NEW"})

    assert own.sent[-1][0] == "Full"
    assert own.sent[-1][1] > 11


async def test_au12_043_a_failed_difference_is_followed_by_the_whole_list(backend, worlds, version):
    world = worlds()
    _, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})
    own.refuse = ["Failed"]

    await backend.token("NEW")
    await world.until_in_step(own, {"TAG", "NEW"})

    assert [kind for kind, _, _ in own.sent[-2:]] == ["Differential", "Full"]


async def test_au12_a_station_that_takes_less_than_it_says_gets_the_more_important_half(
    backend, worlds, version
):
    await backend.token("OWN", partner_id=None, whitelist="ALWAYS")
    for number in range(7):
        await backend.token(f"T{number}")
    world = worlds()
    _, own = await world.connect(version, most=4)

    await backend.until(lambda: world.lists.view("CP1")["state"] == "in-step")

    assert "OWN" in own.entries
    assert 1 <= len(own.entries) <= 4


async def test_au12_bo17_a_long_list_goes_in_parts(backend, worlds, version):
    for number in range(7):
        await backend.token(f"T{number}")
    world = worlds()
    _, own = await world.connect(version, items=3)

    await world.until_in_step(own, {"TAG", *(f"T{n}" for n in range(7))})

    assert [len(tags) for _, _, tags in own.sent] == [3, 3, 2]
    assert [number for _, number, _ in own.sent] == [1, 2, 3]


async def test_own_drivers_come_first_then_who_charged_last(backend, worlds, version):
    for number in range(5):
        await backend.token(f"T{number}")
    await backend.token("OWN", partner_id=None, whitelist="ALWAYS")
    world = worlds(most=2)

    (token,) = await backend.store.tokens_by_uid("T3")
    world.use.session(SimpleNamespace(station="CP1", start_date_time=backend.clock, token=token))
    _, own = await world.connect(version)

    await world.until_in_step(own, {"OWN", "T3"})


async def test_042_1_a_station_without_a_list_is_left_alone(backend, worlds):
    world = worlds(mode="on")
    charger, own = await world.connect("1.6")
    own.version = -1
    await backend.until(lambda: world.lists.view("CP1")["state"] == "not-supported")
    asked = len(charger.asked)

    await backend.token("NEW")
    await world.lists.sweep()

    assert len(charger.asked) == asked
    assert own.sent == []


async def test_043_1_a_station_that_says_not_supported_is_left_alone(backend, worlds):
    world = worlds()
    _, own = await world.connect("1.6")
    own.refuse = ["NotSupported"] * 9
    await backend.until(lambda: world.lists.view("CP1")["state"] == "not-supported")

    await backend.token("NEW")
    await world.lists.sweep()

    assert len(own.sent) == 1


async def test_a_list_that_is_switched_off_at_the_station_is_not_sent(backend, worlds, version):
    world = worlds()
    _, own = await world.connect(version, enabled="false")

    await backend.until(lambda: world.lists.view("CP1")["state"] == "disabled")

    assert own.sent == []


async def test_off_for_one_station_empties_what_it_has(backend, worlds, version):
    world = worlds()
    _, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})

    await backend.register("CP1", settings={"local_list": "off"})
    await world.lists.sweep()

    await backend.until(lambda: own.entries == {})
    assert world.lists.view("CP1")["state"] == "off"


async def test_d10_the_version_and_what_it_holds_outlive_a_restart(backend, worlds, version):
    before = worlds()
    charger, own = await before.connect(version)
    await before.until_in_step(own, {"TAG"})
    backend.stations.on_boot.clear()
    backend.tokens.on_change.clear()

    after = worlds()
    await after.lists.load()
    await backend.token("NEW")
    await charger.boot()
    await after.until_in_step(own, {"TAG", "NEW"})

    assert own.sent[-1] == ("Differential", 2, ["NEW"])


async def test_what_no_station_has_any_more_is_forgotten(backend, worlds):
    world = worlds()
    _, own = await world.connect("1.6")
    await world.until_in_step(own, {"TAG"})
    await backend.token("NEW")
    await world.until_in_step(own, {"TAG", "NEW"})

    await worlds().lists.load()

    rows = backend.store.rows[StationDocument].values()
    assert len([r for r in rows if r.station.startswith("\x1flocal")]) == 1


async def test_the_operator_may_send_all_of_it(backend, worlds, version):
    world = worlds()
    with pytest.raises(Conflict):
        await world.lists.sync_now("CP1", whole=True, actor="test")
    _, own = await world.connect(version)
    await world.until_in_step(own, {"TAG"})

    view = await world.lists.sync_now("CP1", whole=True, actor="test")

    assert own.sent[-1] == ("Full", 2, ["TAG"])
    assert (view["state"], view["version"], view["entries"]) == ("in-step", 2, 1)


async def test_rp23_a_slow_list_holds_up_no_message(backend, worlds):
    world = worlds()
    charger, _ = await world.connect("1.6")
    charger.answers["SendLocalList"] = None
    await backend.until(lambda: charger.asked and charger.asked[-1][0] == "SendLocalList")

    assert "currentTime" in await charger.call("Heartbeat")
    assert (await charger.call("Authorize", idTag="TAG"))["idTagInfo"]["status"] == "Accepted"


# --- caches and sessions of withdrawn tokens ------------------------------------------------------


async def test_au13_a_withdrawn_token_empties_the_cache_where_it_was_used_and_stops_its_session(
    backend, worlds, version
):
    from tests.ocpp.conftest import Charge16, Charge201

    worlds(mode="off")
    charger = await backend.charger(version)
    charge = (Charge16 if version == "1.6" else Charge201)(backend, charger)
    await charge.start()

    await backend.token("TAG", valid=False)

    stop = "RemoteStopTransaction" if version == "1.6" else "RequestStopTransaction"
    await backend.until(lambda: {"ClearCache", stop} <= {action for action, _ in charger.asked})
    assert (stop, {"transactionId": charge.id}) in charger.asked


async def test_au13_an_absent_stations_cache_is_emptied_when_it_is_back(backend, worlds):
    from tests.ocpp.conftest import Charge16

    world = worlds(mode="off")
    charger = await backend.charger("1.6")
    await Charge16(backend, charger).start()
    await charger.close()
    await backend.until(lambda: backend.stations.link("CP1") is None)
    await backend.token("TAG", valid=False)
    await backend.until(lambda: any(
        row.kind == "cache-to-clear" for row in backend.store.rows[StationDocument].values()
    ))  # fmt: skip

    # The server has started again meanwhile.
    world = worlds(mode="off")
    await world.withdrawals.load()
    charger = await backend.charger("1.6")
    await world.withdrawals.sweep()

    await backend.until(lambda: ("ClearCache", {}) in charger.asked)
    await backend.until(lambda: not any(
        row.kind == "cache-to-clear" for row in backend.store.rows[StationDocument].values()
    ))  # fmt: skip


async def test_a_station_without_a_cache_is_not_asked(backend, worlds):
    from tests.ocpp.conftest import Charge16

    worlds(mode="off")
    charger = await backend.charger("1.6")
    await Charge16(backend, charger).start()
    charger.answers["GetConfiguration"] = {
        "configurationKey": [
            {"key": "AuthorizationCacheEnabled", "readonly": False, "value": "false"}
        ]
    }
    await backend.stations.link("CP1").call("GetConfiguration", {})

    await backend.token("TAG", valid=False)

    await backend.until(lambda: any(a == "RemoteStopTransaction" for a, _ in charger.asked))
    assert ("ClearCache", {}) not in charger.asked
