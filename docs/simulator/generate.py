"""Writes the pages of the simulator that follow from its code: scenarios, steps, quirks, faults.

python docs/simulator/generate.py
"""

import inspect
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from chargers_sim.faults import KINDS  # noqa: E402 - after the path is set
from chargers_sim.measurands import MEASURANDS  # noqa: E402
from chargers_sim.quirks import CATALOGUE  # noqa: E402
from chargers_sim.scenario import Scenario, load, shipped  # noqa: E402
from chargers_sim.scenario_fields import EXPECTATIONS, SERVER  # noqa: E402
from chargers_sim.steps import STEPS  # noqa: E402
from chargers_sim.template import load_template, templates  # noqa: E402

HERE = "docs/simulator"


def pages() -> dict[str, str]:
    """Return every generated page by its path."""
    made = {f"{HERE}/reference.md": reference()}
    index = [
        "# The shipped scenarios",
        "",
        "| scenario | OCPP | what it is about |",
        "|---|---|---|",
    ]
    for name, path in shipped().items():
        scenario = load(str(path))
        made[f"{HERE}/scenarios/{name}.md"] = page(name, scenario)
        versions = ", ".join(scenario.versions)
        index.append(f"| [{name}]({name}.md) | {versions} | {scenario.name} |")
    made[f"{HERE}/scenarios/README.md"] = "\n".join(index) + "\n"
    return made


def page(name: str, scenario: Scenario) -> str:
    """Write the page of one scenario."""
    lines = [f"# {scenario.name}", "", " ".join(scenario.about.split()), ""]
    lines += ["```", f"chargers-sim scenario {name} --url ws://HOST:9000/ocpp --identity CP1 \\"]
    lines += ["    --password SECRET --tag TAG --emsp http://HOST:9100 \\"]
    lines += ["    --operator http://HOST:8081 --operator-key KEY", "```", ""]
    lines.append(f"OCPP {', '.join(scenario.versions)}.")
    if scenario.station.get("quirks"):
        lines.append(f"The station has the quirks {', '.join(scenario.station['quirks'])}.")
    lines += ["", "| | step | with | only |", "|---|---|---|---|"]
    for step in scenario.steps:
        facts = "; ".join(f"{k} = {show(v)}" for k, v in step.given.items())
        about = f"{step.kind} {step.word}" + (f": {step.about}" if step.about else "")
        lines.append(f"| {step.number} | {about} | {facts} | {', '.join(step.only)} |")
    return "\n".join(lines) + "\n"


def show(value: object) -> str:
    """Write a value of a step for a table."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {show(v)}" for k, v in value.items()) + "}"
    return str(value).replace("|", "\\|")


def reference() -> str:
    """Write the page of all words."""
    lines = ["# Steps, expectations, faults, quirks, templates", ""]
    lines += ["## Steps at the station", "", "| step | arguments | does |", "|---|---|---|"]
    for name, step in sorted(STEPS.items()):
        parameters = inspect.signature(step.action).parameters.values()
        takes = ", ".join(
            p.name if p.default is p.empty else f"{p.name}={p.default}"
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        )
        lines.append(f"| `{name}` | {takes} | {step.does} |")
    lines += ["", "## Steps at the other ends", "", "| step | arguments |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(takes)} |" for name, takes in sorted(SERVER.items())]
    lines += ["", "## Expectations", "", "| expect | arguments |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(takes)} |" for name, takes in sorted(EXPECTATIONS.items())]
    lines += ["", "## Faults of the line", "", "| do | what happens |", "|---|---|"]
    lines += [f"| `{name}` | {does} |" for name, does in KINDS.items()]
    lines += ["", "## Quirks", "", "| | name | OCPP | does |", "|---|---|---|---|"]
    for quirk in sorted(CATALOGUE.values(), key=lambda q: q.number):
        versions = ", ".join(quirk.versions)
        lines.append(f"| q{quirk.number} | `{quirk.name}` | {versions} | {quirk.does} |")
    lines += [
        "",
        "## Templates",
        "",
        "| template | station | outlets | quirks |",
        "|---|---|---|---|",
    ]
    for name, path in templates().items():
        made = load_template(str(path))
        outlets = ", ".join(f"EVSE {o.evse}: {o.kind} {o.max_power_w} W" for o in made.outlets)
        station = f"{made.vendor} {made.model} {made.firmware}"
        lines.append(f"| `{name}` | {station} | {outlets} | {', '.join(made.quirks)} |")
    lines += ["", "## Measurands", "", ", ".join(f"`{m}`" for m in MEASURANDS), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
