"""Jobs as a fold: what the station says, in any order, and what silence means."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpo.domain import job as fold
from cpo.domain.job import Job, JobKind, JobState, job_document, read_job

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def job(kind=JobKind.FIRMWARE, **changes):
    given = {
        "id": "1", "kind": kind, "station": "CP1", "requested_by": "me", "created_at": NOON,
        "parameters": {"location": "http://x/y"}, "timeout": 60.0, "retries": 1,
        "retry_interval": 5.0,
    }  # fmt: skip
    return Job(**given | changes)


def running(**changes):
    return fold.accepted(fold.sent(job(**changes), 7, at=NOON), at=NOON)


def told(one, *words):
    for word in words:
        one = fold.progressed(one, word, at=NOON)
    return one


def test_fw01_an_update_ends_with_installed():
    done = told(running(), "Downloading", "Downloaded", "Installing", "Installed")
    assert (done.state, done.status) == (JobState.DONE, "Installed")
    assert done.finished_at == NOON


def test_fw01_disorder_and_repeats_do_no_harm():
    done = told(running(), "Installing", "Installing", "Downloading", "Idle", "Installed")
    assert done.state is JobState.DONE
    assert [n["what"] for n in done.history].count("Installing") == 1
    assert told(done, "Downloading").state is JobState.DONE


@pytest.mark.parametrize("word", ["InvalidSignature", "RevokedCertificate"])
def test_fw12_a_bad_signature_is_not_tried_again(word):
    assert told(running(), word).state is JobState.FAILED


def test_a_failure_waits_for_its_next_attempt_and_ends_after_the_last():
    first = told(running(), "DownloadFailed")
    assert (first.state, first.due_at) == (JobState.WAITING, NOON + timedelta(seconds=5))
    second = told(fold.accepted(fold.sent(first, 8, at=NOON), at=NOON), "DownloadFailed")
    assert (second.state, second.attempt, second.request_id) == (JobState.FAILED, 2, 8)


def test_a_late_success_beats_a_failure():
    failed = told(running(retries=0), "InstallationFailed")
    assert failed.state is JobState.FAILED
    assert told(failed, "Installed").state is JobState.DONE


def test_an_upload_to_us_needs_its_file():
    mine = running(kind=JobKind.LOG, parameters={}, retries=0)
    assert told(mine, "Uploaded").state is JobState.FAILED
    assert told(fold.received(mine, "f", at=NOON), "UploadFailure").state is JobState.DONE
    assert told(running(kind=JobKind.LOG), "Uploaded").state is JobState.DONE


def test_silence_ends_an_attempt_only_when_it_has_lasted():
    one = running(retries=0)
    assert fold.silent(one, now=NOON + timedelta(seconds=59)) is one
    over = fold.silent(one, now=NOON + timedelta(seconds=60))
    assert over.state is JobState.TIMED_OUT


def test_fw02_a_boot_with_the_wanted_firmware_is_an_installation():
    one = running(parameters={"location": "http://x", "version": "2.0"})
    assert fold.booted(one, "1.0", at=NOON).state is JobState.RUNNING
    assert fold.booted(one, "2.0", at=NOON).state is JobState.DONE


def test_a_cancelled_job_stays_cancelled():
    one = fold.cancelled(running(), "by me", at=NOON)
    assert told(one, "Installed").state is JobState.CANCELLED


WORDS = st.sampled_from(
    ["Downloading", "Installed", "DownloadFailed", "Idle", "AcceptedCanceled", "Nonsense", "silence",
     "sent", "booted", "Uploaded", "UploadFailure"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=40), st.sampled_from(list(JobKind)))
def test_whatever_is_told_a_job_stays_readable_and_within_its_attempts(words, kind):
    one, now = job(kind, retries=2), NOON
    for word in words:
        now += timedelta(seconds=61)
        if word == "sent":
            if one.state is JobState.WAITING:
                one = fold.sent(one, 3, at=now)
        elif word == "silence":
            one = fold.silent(one, now=now)
        elif word == "booted":
            one = fold.booted(one, "9", at=now)
        else:
            one = fold.progressed(one, word, at=now)
        assert one.attempt <= 3
        assert one.ended == (one.finished_at is not None)
        assert read_job(job_document(one)) == one
