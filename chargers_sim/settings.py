"""What configuration keys (1.6) and variables (2.x) say about a station's behaviour."""

from dataclasses import dataclass

ENERGY = "Energy.Active.Import.Register"


@dataclass(slots=True, kw_only=True)
class Settings:
    """What configuration keys and variables say about behaviour.

    `sampled`, `aligned` and `begin` name the measurands of messages during a charge, `end` and
    `end_aligned` those of the readings that are kept for its last message: at begin and end, and
    every `end_seconds` and `end_aligned_seconds` between (0: none between).
    """

    sample_seconds: int = 60
    aligned_seconds: int = 0
    end_seconds: int = 0
    end_aligned_seconds: int = 0
    sampled: tuple[str, ...] = (ENERGY, "Power.Active.Import")
    aligned: tuple[str, ...] = (ENERGY,)
    begin: tuple[str, ...] = (ENERGY,)
    end: tuple[str, ...] = (ENERGY,)
    end_aligned: tuple[str, ...] = ()
    aligned_while_charging: bool = True
    connection_seconds: int = 60
    status_seconds: int = 0
    start_points: frozenset[str] = frozenset({"PowerPathClosed"})
    stop_points: frozenset[str] = frozenset({"Authorized", "EVConnected"})
    stop_on_unplug: bool = True
    stop_on_invalid: bool = True
    invalid_wh: int = 0
    reserve_any: bool = False
