"""What a station is: hardware, firmware, defaults."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any

from chargers_sim.errors import BadInput
from chargers_sim.files import parse_toml, read_text
from chargers_sim.measurands import MEASURANDS, OF_VERSION
from chargers_sim.meter import Meter
from chargers_sim.outlet import Outlet


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletPlan:
    """One socket or cable of a template."""

    evse: int
    connector: int = 1
    max_power_w: int = 22_000
    kind: str = "sType2"
    direct_current: bool = False
    phases: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A station type."""

    name: str = "single-ac"
    vendor: str = "Example Power"
    model: str = "Post 22"
    firmware: str = "1.4.2"
    outlets: tuple[OutletPlan, ...] = (OutletPlan(evse=1),)
    sampled: tuple[str, ...] = (
        "Energy.Active.Import.Register",
        "Power.Active.Import",
        "Current.Import",
        "Voltage",
        "SoC",
    )
    sample_seconds: int = 60
    aligned: tuple[str, ...] = ("Energy.Active.Import.Register",)
    aligned_seconds: int = 0
    by_phase: bool = False
    power_unit: str = "W"
    meter_decimals: int = 0
    register_unit: str = "Wh"
    register_wh: Decimal = Decimal(0)
    clock_skew_seconds: float = 0
    quirks: tuple[str, ...] = ()
    configuration: Mapping[str, str] = field(default_factory=dict)
    signs: str | None = None
    grid_noise: bool = False
    power_factor: Decimal = Decimal(1)
    multiplier: int = 0
    status_by_events: bool = False
    iso15118: bool = False
    contract: str | None = None
    local_controller: bool = False

    def build(self, serial: str, seed: str = "") -> list[Outlet]:
        """Make the outlets of one station of this type."""
        outlets = []
        for number, plan in enumerate(self.outlets, start=1):
            meter = Meter(
                serial=f"{serial}-M{number}",
                phases=plan.phases,
                voltage_v=400 if plan.direct_current else 230,
                direct_current=plan.direct_current,
                decimals=self.meter_decimals,
                register_unit=self.register_unit,
                power_unit=self.power_unit,
                by_phase=self.by_phase,
                power_factor=self.power_factor,
                noise=random.Random(f"{seed} {serial} {number}") if self.grid_noise else None,
            )
            meter.set_register_wh(self.register_wh)
            outlets.append(
                Outlet(
                    number=number,
                    evse=plan.evse,
                    connector=plan.connector,
                    max_power_w=plan.max_power_w,
                    meter=meter,
                )
            )
        return outlets


def with_outlets(count: int) -> Template:
    """Make the plain template with that many AC sockets."""
    return Template(outlets=tuple(OutletPlan(evse=n) for n in range(1, count + 1)))


FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "about": str,
    "vendor": str,
    "model": str,
    "firmware": str,
    "sampled": list,
    "sample_seconds": int,
    "aligned": list,
    "by_phase": bool,
    "power_unit": str,
    "aligned_seconds": int,
    "meter_decimals": int,
    "register_unit": str,
    "register_wh": (int, float, str),
    "clock_skew_seconds": (int, float),
    "quirks": list,
    "configuration": dict,
    "signs": str,
    "grid_noise": bool,
    "power_factor": (int, float, str),
    "multiplier": int,
    "status_by_events": bool,
    "iso15118": bool,
    "contract": str,
    "local_controller": bool,
    "outlets": list,
}
RANGES = {
    "sample_seconds": (0, 86_400),
    "aligned_seconds": (0, 86_400),
    "meter_decimals": (0, 6),
    "multiplier": (-3, 6),
    "evse": (1, 999),
    "connector": (1, 99),
    "max_power_w": (1, 10_000_000),
    "phases": (1, 3),
}
OUTLET_FIELDS: dict[str, type] = {
    "evse": int,
    "connector": int,
    "max_power_w": int,
    "kind": str,
    "direct_current": bool,
    "phases": int,
}


def templates() -> dict[str, Path]:
    """List the templates that come with the simulator, by name."""
    folder = Path(__file__).parent / "templates"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_template(name: str) -> Template:
    """Read a template from a file, or a shipped one by its name."""
    path = Path(name)
    known = templates()
    if not path.exists() and name in known:
        path = known[name]
    text = read_text(path, f"; templates are {', '.join(known)}")
    return read_template(text, str(path))


def read_template(text: str, path: str) -> Template:
    """Check a template; an error names file, line and field."""
    sent = parse_toml(text, path)

    def where(key: str, nth: int = 1) -> str:
        pattern = re.compile(rf"\s*(\[\[?)?{re.escape(key)}\b")
        found = [n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line)]
        return f"{path}:{found[min(nth, len(found)) - 1] if found else 1}"

    _check_fields(sent, FIELDS, where)
    for name in ("sampled", "aligned"):
        for measurand in sent.get(name, ()):
            if measurand not in MEASURANDS:
                raise BadInput(f"{where(name)}: {name}: unknown measurand {measurand!r}")
    if sent.get("power_unit", "W") not in {"W", "kW"}:
        raise BadInput(f"{where('power_unit')}: power_unit: W or kW")
    if sent.get("register_unit", "Wh") not in {"Wh", "kWh"}:
        raise BadInput(f"{where('register_unit')}: register_unit: Wh or kWh")
    if sent.get("signs") not in {None, "ocmf", "ocmf-tampered"}:
        raise BadInput(f"{where('signs')}: signs: ocmf or ocmf-tampered")
    for name, value in sent.get("configuration", {}).items():
        if not isinstance(value, str):
            raise BadInput(f"{where(name)}: configuration: {name}: not a text: {value!r}")
    _check_quirks(sent.get("quirks", ()), where("quirks"))
    outlets = sent.pop("outlets", [{"evse": 1}])
    if not outlets:
        raise BadInput(f"{where('outlets')}: outlets: a station needs at least one")
    for number, outlet in enumerate(outlets, start=1):
        if not isinstance(outlet, dict):
            raise BadInput(f"{where('outlets', number)}: outlets: not a table: {outlet!r}")
        _check_fields(outlet, OUTLET_FIELDS, partial(where, nth=number))
        if "evse" not in outlet:
            raise BadInput(f"{where('outlets', number)}: outlets: evse is missing")
    sent.pop("about", None)
    for name in ("register_wh", "power_factor"):
        if name in sent:
            sent[name] = _decimal(sent[name], f"{where(name)}: {name}")
    for name in ("sampled", "aligned", "quirks"):
        if name in sent:
            sent[name] = tuple(sent[name])
    return Template(**sent, outlets=tuple(OutletPlan(**outlet) for outlet in outlets))


def _check_fields(
    sent: dict[str, Any], known: Mapping[str, Any], where: Callable[[str], str]
) -> None:
    for key, value in sent.items():
        if key not in known:
            raise BadInput(f"{where(key)}: unknown field {key!r}; known are {', '.join(known)}")
        if not isinstance(value, known[key]):
            raise BadInput(f"{where(key)}: {key}: {value!r} is not of the right kind")
        if isinstance(value, bool) and known[key] is not bool:
            raise BadInput(f"{where(key)}: {key}: {value!r} is not of the right kind")
        least, most = RANGES.get(key, (None, None))
        if least is not None and not least <= value <= most:
            raise BadInput(f"{where(key)}: {key}: {value!r} is not between {least} and {most}")


def _check_quirks(names: Sequence[Any], where: str) -> None:
    from chargers_sim.quirks import make  # noqa: PLC0415 - only a template with quirks needs them

    for name in names:
        if not any(_is_quirk_of(make, name, version, where) for version in OF_VERSION):
            raise BadInput(f"{where}: quirks: unknown quirk {name!r}")


def _is_quirk_of(make: Callable[..., Any], name: Any, version: str, where: str) -> bool:
    try:
        make([str(name)], version, where)
    except BadInput:
        return False
    return True


def _decimal(value: Any, where: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation as problem:
        raise BadInput(f"{where}: not a number: {value!r}") from problem
    if not number.is_finite() or number < 0:
        raise BadInput(f"{where}: not a number from 0 up: {value!r}")
    return number
