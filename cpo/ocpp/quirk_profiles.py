"""The quirk profiles that come with the package, and those of the settings after them."""

import tomllib
from collections.abc import Iterable
from importlib import resources
from typing import Any

from cpo import config
from cpo.domain.quirk_profiles import QuirkProfile, read_profile


def quirk_profiles(settings: Iterable[config.QuirkProfile]) -> tuple[QuirkProfile, ...]:
    """Return all profiles in order; of several that fit the last wins."""
    text = resources.files("cpo.ocpp").joinpath("quirk_profiles.toml").read_text("utf-8")
    shipped = tomllib.loads(text)["profile"]
    return tuple(read_profile(given) for given in (*shipped, *map(_given, settings)))


def _given(profile: config.QuirkProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "vendor": profile.vendor,
        "model": profile.model,
        "firmware": profile.firmware,
        "note": profile.note,
        "assume_version": profile.assume_version,
        "pings": profile.pings,
        "compression": profile.compression,
        "intake": profile.intake,
        "triggers": profile.triggers,
        "inventory": profile.inventory,
        "local_list": profile.local_list,
        "energy_unit": profile.energy_unit,
        "close": profile.close,
        "tags": profile.tags,
        "fixed_tag": profile.fixed_tag,
        "too_long": profile.too_long,
        "open_enums": profile.open_enums,
        "empty": profile.empty,
        "fractions": profile.fractions,
    }
