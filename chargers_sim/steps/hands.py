"""Steps of a driver and a technician at the station itself."""

from decimal import Decimal
from typing import Any

from chargers_sim.car import Car
from chargers_sim.contract import read_contract
from chargers_sim.errors import BadInput
from chargers_sim.live import Station
from chargers_sim.maintenance import STAGES
from chargers_sim.steps.book import step


@step
async def plug(
    station: Station,
    *,
    connector: int = 1,
    battery_wh: int = 0,
    soc: Decimal = Decimal(30),
    power_w: int = 11_000,
) -> None:
    """Connect a car; with `battery_wh` it draws by its own curve."""
    car = Car(battery_wh=battery_wh, soc=soc, max_power_w=power_w) if battery_wh else None
    await station.plug(connector, car=car)


@step
async def plug_and_charge(
    station: Station, *, emaid: str, connector: int = 1, contract: str = ""
) -> dict[str, Any]:
    """Connect a car that authorizes itself (ISO 15118), with the chain of a PEM file if named."""
    chain = read_contract(contract, emaid) if contract else None
    return {"status": await station.plug_and_charge(emaid, connector, contract=chain)}


@step
async def unplug(station: Station, *, connector: int = 1) -> None:
    """Take the plug out of the car."""
    await station.unplug(connector)


@step
async def swipe(
    station: Station, *, tag: str, connector: int | None = None, kind: str = "ISO14443"
) -> dict[str, Any]:
    """Hold a token to the reader: starts, or stops what it started."""
    return {"status": await station.swipe(tag, connector, kind=kind)}


@step
async def charge(
    station: Station,
    *,
    kwh: Decimal,
    seconds: Decimal,
    idle: Decimal = Decimal(0),
    connector: int | None = None,
    stop: bool = False,
) -> None:
    """Deliver exactly that energy in that time, then let the car suspend for `idle`."""
    await station.charge(
        kwh=kwh, seconds=seconds, idle_seconds=idle, connector=connector, stop=stop
    )


@step
async def discharge(
    station: Station, *, kwh: Decimal, seconds: Decimal, connector: int | None = None
) -> None:
    """Let the car give exactly that energy back in that time (V2G)."""
    await station.charge(kwh=-kwh, seconds=seconds, connector=connector)


@step
async def idle(station: Station, *, seconds: Decimal, connector: int | None = None) -> None:
    """Let the car suspend for a while."""
    await station.idle(float(seconds), connector)


@step
async def advance(station: Station, *, seconds: Decimal) -> None:
    """Let station time pass."""
    await station.advance(float(seconds))


@step
async def stop(
    station: Station,
    *,
    connector: int | None = None,
    reason: str = "Local",
    tag: str | None = None,
) -> None:
    """End the running transaction at the station."""
    await station.stop(connector, reason=reason, token=tag)


@step
async def fault(station: Station, *, code: str = "OtherError", connector: int = 1) -> None:
    """Break a connector (0: the station) with an error code."""
    await station.fault(code, connector)


@step
async def mend(station: Station, *, connector: int = 1) -> None:
    """Mend what is broken."""
    await station.fault(None, connector)


@step
async def availability(station: Station, *, operative: bool, connector: int = 0) -> None:
    """Take a connector (0: the station) out of service, or back."""
    await station.set_operative(operative=operative, connector=connector)


@step
async def power_loss(station: Station) -> None:
    """The mains fail."""
    await station.lose_power()


@step
async def power_back(station: Station, *, timeout: Decimal = Decimal(30)) -> None:
    """The mains are back: boot and tell how the transactions ended."""
    await station.regain_power(timeout=float(timeout))


@step
async def door(station: Station, *, open: bool) -> None:
    """Open or close the door: opening ends charges and tells a tamper event."""
    await station.door(opened=open)


@step
async def reboot(station: Station, *, reason: str = "HardReset") -> None:
    """Restart the station."""
    await station.reboot(reason)
    await station.online()


@step
async def set_clock(station: Station, *, jump: Decimal) -> None:
    """Set the station's clock forward or back by that many seconds."""
    station.clock.jump(float(jump))


@step
async def set_meter(station: Station, *, wh: Decimal, connector: int = 1) -> None:
    """Put the register of a meter to a value."""
    station.model.outlet(connector).meter.set_register_wh(wh)


@step
async def wait_for(
    station: Station, *, event: str, timeout: Decimal = Decimal(30), **match: Any
) -> dict[str, Any]:
    """Wait for an event, such as transaction_started."""
    return await station.wait_for(event, timeout=float(timeout), **match)


@step
async def settle(station: Station, *, timeout: Decimal = Decimal(30)) -> None:
    """Wait until everything sent is answered."""
    await station.settle(timeout=float(timeout))


@step
async def configure(station: Station, *, key: str, value: str) -> None:
    """Change a configuration key (1.6) or Component.Variable (2.x) at the station itself."""
    station.configure(key, value)
    await station.settle()


@step
async def set_variable(
    station: Station, *, name: str, value: str | None = None, evse: int | None = None
) -> None:
    """Let Component.Variable (2.x) show a value, for monitors to see; without one let it go."""
    station.force_variable(name, value, evse=evse)
    await station.settle()


@step
async def break_job(station: Station, *, stage: str | None = None) -> None:
    """Let a stage of firmware and log jobs fail: download, signature, install, upload; or none."""
    if stage is not None and stage not in STAGES:
        raise BadInput(f"break-job.stage: unknown {stage!r}; known are {', '.join(STAGES)}")
    station.maintenance.breaks = set() if stage is None else {stage}
