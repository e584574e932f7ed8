"""What reports call a step; what a replay compares."""

import pytest

from chargers_sim.replay_cli import _plain
from chargers_sim.titles import title


@pytest.mark.parametrize(
    ("kind", "word", "given", "said"),
    [
        ("do", "plug", {}, "plug"),
        ("do", "charge", {"kwh": 2, "seconds": 600}, "charge kwh=2 seconds=600"),
        ("do", "server-start", {"tag": "T"}, "the server starts a charge for T"),
        ("do", "server-stop", {}, "the server stops the charge"),
        (
            "do",
            "server-call",
            {"action": "Reset", "payload": {"type": "Soft"}, "match": {"outcome": "result"}},
            "the server sends Reset and gets outcome = result",
        ),
        ("do", "emsp-command", {"command": "START_SESSION"}, "the eMSP sends START_SESSION"),
        ("do", "operator", {"path": "/x", "method": "PUT"}, "the operator: PUT /x"),
        ("do", "note", {"text": "now the hard part"}, "now the hard part"),
        (
            "expect",
            "event",
            {"event": "transaction_ended", "match": {"energy_wh": 5}},
            "transaction_ended happens, energy_wh = 5",
        ),
        (
            "expect",
            "frame",
            {"action": "StopTransaction", "count": 3, "match": {"meterStop": ">= 5"}},
            "the station sends StopTransaction 3 times, meterStop >= 5",
        ),
        ("expect", "frame", {"action": "A", "direction": "in"}, "the server sends A"),
        ("expect", "no-frame", {"action": "A"}, "the station sends no A"),
        (
            "expect",
            "answer",
            {"action": "A", "match": {"b": "-", "c": "*"}},
            "A is answered, b absent, c given",
        ),
        ("expect", "status", {"status": "Available"}, "connector 1 is Available"),
        ("expect", "meter", {"wh": ">= 5"}, "the meter shows >= 5 Wh"),
        ("expect", "all-answered", {}, "everything that was sent is answered"),
        ("expect", "waiting", {"count": 2}, "2 messages wait for the line"),
        ("expect", "emsp", {"holds": "cdrs", "count": 0}, "the eMSP holds 0 new cdrs"),
        ("expect", "operator", {"path": "/x", "match": {"a": 1}}, "GET /x, a = 1"),
    ],
)
def test_a_step_is_called_by_what_it_does(kind, word, given, said) -> None:
    assert title(kind, word, given) == said


def test_a_replay_compares_neither_ids_nor_times() -> None:
    before = [{"transactionId": 1, "idTagInfo": {"status": "Accepted"}}]
    info = {"status": "Accepted", "expiryDate": "2026-01-01T00:00:00Z"}
    after = [{"transactionId": 2, "idTagInfo": info}]

    assert _plain(before) == _plain(after)
    assert _plain(before) != _plain([{"idTagInfo": {"status": "Blocked"}}])
