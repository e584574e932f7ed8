"""cpo/domain/values.py: what reads JSON is built from any thread."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Fresh types, as after a start, which all threads want at once; what goes wrong ends the process.
BUILDING = """
import sys, threading
from dataclasses import make_dataclass
from cpo.domain.values import decoder

sys.setswitchinterval(1e-6)
kinds = []
for number in range(100):
    inner = make_dataclass(f"Inner{number}", [(f"f{n}", int | None, None) for n in range(30)])
    kinds.append(make_dataclass(f"Outer{number}", [("inner", inner), ("more", tuple[inner, ...])]))
gate = threading.Barrier(8)
read = []


def build():
    gate.wait()
    for kind in kinds:
        read.append(decoder(kind)('{"inner": {"f1": 1}, "more": [{}]}').inner.f1)


threads = [threading.Thread(target=build) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert read == [1] * 800
"""


def test_p8_threads_that_read_the_same_type_first_do_not_crash():
    done = subprocess.run(
        [sys.executable, "-c", BUILDING], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
