"""What pricing costs: a long day, one more sample on it, and many CDRs.

The day has 1,440 readings with power, at seconds that fit no boundary, and a tariff with an element
for each hour. Typical CDRs have 5 to 60 readings, one change to parking and 1 to 4 elements. The
median of the rounds counts. Times are CPU times of this process.

    python benchmarks/pricing.py --rounds 7 --cdrs 10000
"""

import argparse
import json
import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cpo.domain.periods import Activity, MeterSample, PowerSample, Record, StateChange
from cpo.domain.pricing import LivePrice, Samples, price
from cpo.domain.tariff import parse_tariff

ZONE = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 1, 5, 9, 0, 17, tzinfo=UTC)


def tariff(elements):
    return parse_tariff(
        {
            "id": "bench",
            "currency": "EUR",
            "elements": [
                {
                    "price_components": [
                        {
                            "type": "ENERGY",
                            "price": Decimal(20 + i) / 100,
                            "vat": 21,
                            "step_size": 1,
                        },
                        {"type": "TIME", "price": 1 + i, "vat": 21, "step_size": 60},
                        {"type": "PARKING_TIME", "price": 2 + i, "vat": 21, "step_size": 60},
                    ],
                    "restrictions": {
                        "start_time": f"{i * 24 // elements:02}:00",
                        "end_time": f"{(i + 1) * 24 // elements % 24:02}:00",
                    },
                }
                for i in range(elements)
            ],
        }
    )


def day(samples=1440):
    at = [START + timedelta(minutes=i) for i in range(1, samples + 1)]
    return Record(
        started_at=START,
        ended_at=at[-1],
        meter=tuple(MeterSample(a, Decimal(120 * i + i % 7)) for i, a in enumerate(at, 1)),
        power=tuple(PowerSample(a, Decimal(7000 + i % 50)) for i, a in enumerate(at)),
    )


def typical(rng):
    n = rng.randint(5, 60)
    start = START + timedelta(seconds=rng.randint(0, 7 * 86_400))
    at = [start + timedelta(seconds=60 * i) for i in range(1, n + 1)]
    return Record(
        started_at=start,
        ended_at=at[-1] + timedelta(minutes=20),
        meter=tuple(MeterSample(a, Decimal(180 * i)) for i, a in enumerate(at, 1)),
        states=(StateChange(start, Activity.CHARGING), StateChange(at[-1], Activity.PARKING)),
    )


def seconds(work):
    begun = time.process_time()
    work()
    return time.process_time() - begun


def long_day(rounds):
    record, hourly = day(), tariff(24)

    def work():
        cost = price(record, hourly, ZONE)
        assert len(cost.periods) == 25
        cost.breakdown()

    return statistics.median(seconds(work) for _ in range(rounds)) * 1e3


def one_more_sample():
    whole, hourly = day(), tariff(24)
    live, took = LivePrice(hourly, ZONE), []
    live.update(Record(started_at=START))
    for n in range(1440):
        new = Samples(meter=whole.meter[n : n + 1], power=whole.power[n : n + 1])
        took.append(seconds(lambda new=new: live.add(new).price()))
    return statistics.median(took[1340:]) * 1e6


def many_cdrs(count):
    rng = random.Random("cdrs")
    tariffs = [tariff(n) for n in (1, 2, 3, 4)]
    records = [typical(rng) for _ in range(count)]

    def work():
        for i, record in enumerate(records):
            cost = price(record, tariffs[i % 4], ZONE)
            assert cost.periods
            cost.breakdown()

    return seconds(work)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--cdrs", type=int, default=10_000)
    given = arguments.parse_args()
    print(
        json.dumps(
            {
                "day_1440_samples_24_elements_ms": round(long_day(given.rounds), 2),
                "one_more_sample_us": round(
                    statistics.median(one_more_sample() for _ in range(3)), 1
                ),
                f"cdrs_{given.cdrs}_s": round(many_cdrs(given.cdrs), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
