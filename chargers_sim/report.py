"""Verdicts written down: JUnit XML for machines, Markdown for people."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from chargers_sim.runner import Verdict


def junit(verdicts: Sequence[Verdict]) -> str:
    """Write all verdicts as JUnit XML, one suite per scenario and version."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    tests = sum(len(v.results) + bool(v.problem) for v in verdicts)
    failures = sum(_failures(v) for v in verdicts)
    lines.append(f'<testsuites tests="{tests}" failures="{failures}">')
    for verdict in verdicts:
        name = f"{verdict.scenario.name} [{verdict.version}]"
        failed = _failures(verdict)
        tests = len(verdict.results) + bool(verdict.problem)
        lines.append(
            f'  <testsuite name={quoteattr(name)} tests="{tests}" failures="{failed}" '
            f'skipped="{verdict.skipped}" time="{verdict.seconds:.3f}">'
        )
        for result in verdict.results:
            title = quoteattr(f"{result.step.number:02d} {result.title}"[:200])
            place = quoteattr(f"{verdict.scenario.path}:{result.step.line}")
            open_tag = f'    <testcase classname={place} name={title} time="{result.seconds:.3f}"'
            if result.outcome == "passed":
                lines.append(open_tag + "/>")
                continue
            word = "failure" if result.outcome == "failed" else "skipped"
            lines.append(open_tag + f"><{word} message={quoteattr(result.detail)}/></testcase>")
        if verdict.problem:
            said = escape(verdict.problem)
            lines.append(f'    <testcase name="connection"><failure>{said}</failure></testcase>')
        lines.append("  </testsuite>")
    lines.append("</testsuites>")
    return "\n".join(lines) + "\n"


def _failures(verdict: Verdict) -> int:
    return sum(r.outcome == "failed" for r in verdict.results) + bool(verdict.problem)


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Write all verdicts for people."""
    lines = [
        "# Verdicts",
        "",
        "| scenario | OCPP | verdict | steps | seconds |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {v.scenario.name} | {v.version} | {word(v)} | {len(v.results)} | {v.seconds:.2f} |"
        for v in verdicts
    ]
    for verdict in verdicts:
        lines += ["", f"## {verdict.scenario.name}, OCPP {verdict.version}: {word(verdict)}", ""]
        if verdict.scenario.about:
            lines += [verdict.scenario.about, ""]
        if verdict.problem:
            lines += [f"**{verdict.problem}**", ""]
        for result in verdict.results:
            mark = {"passed": "ok", "failed": "**FAILED**", "skipped": "skipped"}[result.outcome]
            detail = f": {result.detail}" if result.detail else ""
            lines.append(f"{result.step.number}. {mark} {result.title}{detail}")
    return "\n".join(lines) + "\n"


def word(verdict: Verdict) -> str:
    """Say a verdict in a word or two."""
    if not verdict.passed:
        return "FAILED"
    return f"passed, {verdict.skipped} skipped" if verdict.skipped else "passed"
