"""Logs without secrets, metrics with bounded labels."""

import io
import json
import logging

import pytest
import structlog

from cpo.telemetry import MAX_SERIES, Counter, Gauge, Histogram, Masker, Metrics, configure_logs


@pytest.fixture
def lines():
    """Return a function that gives what was logged so far, one dict a line."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, structlog.get_config())
    out = io.StringIO()
    configure_logs(level="info", out=out, key=b"k" * 32)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    root.handlers[:], config = before[0], before[2]
    root.setLevel(before[1])
    structlog.configure(**config)


def test_a_log_line_is_one_json_object(lines):
    structlog.get_logger().info("ocpp.boot", station="CP\n1\x1b[31m", count=3)

    (line,) = lines()
    assert line["event"] == "ocpp.boot"
    assert line["level"] == "info"
    assert line["station"] == "CP\n1\x1b[31m"
    assert line["timestamp"].endswith("Z")


def test_secrets_never_reach_the_log(lines):
    """I18, S29: by key at any depth, and by look inside text."""
    structlog.get_logger().warning(
        "ocpi.failed",
        token_a="canary1",
        headers={"Authorization": "Token canary2canary"},
        frame=[
            {"key": "AuthorizationKey", "value": "canary3"},
            {"variable": {"name": "BasicAuthPassword"}, "attributeValue": "canary7"},
        ],
        text="sent Authorization: Basic canary4canary== to postgresql://cpo:canary5@db/cpo",
    )
    logging.getLogger("aiohttp.server").error("Bearer %s", "canary6canary")

    text = json.dumps(lines())
    assert len(lines()) == 2
    assert "canary" not in text


def test_token_uids_are_masked_but_stay_recognisable(lines):
    """S31, SEC-21."""
    structlog.get_logger().info("a", id_tag="DEADBEEF1234", idToken={"idToken": "DEADBEEF1234"})

    (line,) = lines()
    assert "DEADBEEF" not in json.dumps(line)
    assert line["id_tag"] == line["idToken"]["idToken"]
    assert line["id_tag"].endswith("…1234")


def test_a_short_uid_shows_none_of_its_characters():
    assert Masker(b"k").personal("AB12").endswith("…")


def test_the_frames_of_the_ocpp_package_are_not_written(lines):
    logging.getLogger("ocpp").info("receive message [2, ...]")

    assert lines() == []


def test_an_exception_is_part_of_its_line(lines):
    try:
        [].index(1)
    except ValueError:
        structlog.get_logger().exception("failed")

    (line,) = lines()
    assert "ValueError: 1 is not in list" in line["exception"]


def test_a_counter_counts_by_labels():
    counter = Counter("cpo_a_total", "A", ["kind"])

    counter.inc("x")
    counter.inc("x", by=2)

    assert counter.value("x") == 3


def test_a_family_never_grows_without_bound():
    counter = Counter("cpo_a_total", "A", ["kind"])

    for number in range(MAX_SERIES + 10):
        counter.inc(str(number))

    assert counter.value("other") == 10


def test_wrong_labels_are_an_error():
    with pytest.raises(ValueError, match="cpo_a_total has labels"):
        Counter("cpo_a_total", "A", ["kind"]).inc("x", "y")


def test_a_gauge_reads_its_source_when_scraped():
    gauge = Gauge("cpo_a", "A", ["kind"])
    gauge.read_from(lambda: {("x",): 5})

    (family,) = gauge.metrics()
    assert [(s.labels, s.value) for s in family.samples] == [({"kind": "x"}, 5)]


def test_a_histogram_counts_into_cumulative_buckets():
    histogram = Histogram("cpo_a_seconds", "A", buckets=(1, 2))

    for value in (0.5, 1, 1.5, 9):
        histogram.observe(value)

    (family,) = histogram.metrics()
    assert {s.labels.get("le", s.name): s.value for s in family.samples} == {
        "1": 2,
        "2": 3,
        "+Inf": 4,
        "cpo_a_seconds_count": 4,
        "cpo_a_seconds_sum": 12,
    }


def test_all_metrics_are_rendered_as_prometheus_text():
    metrics = Metrics()
    metrics.ocpp_messages.inc("1.6", "in", "Heartbeat", "result")
    metrics.publish_delay.observe(0.003, "evse")

    text = metrics.render().decode()
    assert (
        'cpo_ocpp_messages_total{action="Heartbeat",direction="in",outcome="result",version="1.6"}'
        " 1.0" in text
    )
    assert 'cpo_publish_delay_seconds_bucket{kind="evse",le="0.005"} 1.0' in text


def test_metric_names_follow_the_convention():
    for described in Metrics().catalogue():
        assert described.name.startswith("cpo_")
        assert described.name.endswith("_total") == (described.kind == "counter")
        assert not {"station", "transaction", "token"} & set(described.labels)
