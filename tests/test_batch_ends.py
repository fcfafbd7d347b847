"""How a batch ends before its time: signals, full disks, broken callbacks, outages; on a clock where it takes long."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import Clock, Job, no_file_above, policy, read, rows, until
from server import Reply, Server, error

from novita_openai.batch import BatchProgress, BatchReport, BatchStopped, standing
from novita_openai.batch.shutdown import DRAIN
from novita_openai.emulator import Emulator, Fault

HOURS = 7_200.0
"""A latency that no test waits for."""


def interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def stalling(emulator: Emulator) -> Callable[[Any], str]:
    """Return an answer, for a script, from which on none comes in time."""

    def answer(_: Any) -> str:
        emulator.latency = HOURS
        return "Boil water."

    return answer


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    server.lists_apart = True
    return Job(tmp_path, server.base_url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_a_signal_drains_what_is_in_flight(job: Job, emulator: Emulator, number: int) -> None:
    def answer(_: Any) -> str:
        interrupt(number)
        return "Boil water."

    emulator.script.append(answer)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    report = job.run(rows(500), concurrency=4)
    assert report.interrupted
    assert report.sent == report.succeeded == len(job.answers()) <= 8
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert job.run().succeeded == 500


@pytest.mark.slow
def test_a_second_signal_stops_at_once(job: Job, emulator: Emulator) -> None:
    emulator.script.append(stalling(emulator))
    signals = iter([signal.SIGINT, signal.SIGTERM])

    def watch(progress: BatchProgress) -> None:
        if progress.in_flight == 5:
            interrupt(next(signals))

    report = job.run(rows(5), concurrency=5, on_progress=watch)
    assert (report.interrupted, report.succeeded, report.unfinished) == (True, 0, 5)
    assert report.elapsed < DRAIN
    assert next(signals, None) is None


def test_a_hangup_that_is_ignored_stays_ignored(job: Job, emulator: Emulator) -> None:
    def answer(_: Any) -> str:
        interrupt(signal.SIGHUP)
        return "Boil water."

    emulator.script.append(answer)
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert job.run(rows(5), concurrency=1).succeeded == 5
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize(("options", "seconds"), [({}, DRAIN), ({"drain": 30}, 30.0)])
@pytest.mark.slow
def test_what_is_in_flight_has_the_seconds_of_drain_to_end(
    job: Job, emulator: Emulator, options: dict[str, Any], seconds: float
) -> None:
    emulator.script.append(stalling(emulator))
    clock = Clock()
    drained: list[float] = []

    def watch(progress: BatchProgress) -> None:
        if progress.interrupted:
            drained.append(clock.ahead)
            clock.ahead += seconds * 0.4
        elif progress.in_flight == 5:
            interrupt()

    job.write(rows(5))
    report = job.run_on(clock, concurrency=5, on_progress=watch, **options)
    assert (report.interrupted, report.sent, report.succeeded) == (True, 5, 0)
    assert {0, seconds * 0.4, seconds * 0.8} <= set(drained)
    assert report.elapsed < DRAIN


@pytest.mark.slow
def test_two_signals_end_the_waiting_of_a_batch_that_was_stopped(job: Job, emulator: Emulator) -> None:
    def watch(progress: BatchProgress) -> None:
        if progress.errors:
            interrupt()

    models = Fault("no_done")  # no fault to a list
    emulator.script.extend([models, Fault("stall"), Fault("INVALID_API_KEY")])
    with pytest.raises(BatchStopped) as caught:
        job.run(rows(5), concurrency=2, on_progress=watch)
    assert (caught.value.report.interrupted, caught.value.report.unfinished) == (True, 5)
    assert caught.value.report.elapsed < DRAIN


def test_a_signal_ends_the_waiting_for_prices(job: Job, emulator: Emulator) -> None:
    job.run(rows(2))
    emulator.latency, count = HOURS, emulator.request_count

    def wait() -> None:
        until(lambda: emulator.request_count > count)
        interrupt()

    thread = threading.Thread(target=wait)
    thread.start()
    report = job.run(rows(5), max_cost=1.0)
    thread.join()
    assert (report.interrupted, report.sent, report.resumed, report.unfinished) == (True, 0, 2, 3)


@pytest.mark.slow
def test_a_signal_before_the_first_request_ends_the_run(job: Job, emulator: Emulator) -> None:
    job.write(rows(80_000))
    handler = signal.getsignal(signal.SIGTERM)

    def wait() -> None:
        until(lambda: signal.getsignal(signal.SIGTERM) != handler)
        interrupt()

    thread = threading.Thread(target=wait)
    thread.start()
    report = job.run()
    thread.join()
    assert (report.interrupted, report.sent, emulator.requests) == (True, 0, [])


def test_a_run_in_another_thread_leaves_signals_alone(job: Job) -> None:
    job.write(rows(2))
    reports: list[BatchReport] = []
    thread = threading.Thread(target=lambda: reports.append(job.run()))
    thread.start()
    thread.join()
    assert reports[0].succeeded == 2


def test_no_answer_for_half_an_hour_stops_the_batch(scripted: Job, server: Server) -> None:
    clock = Clock()
    server.always = error(500, "MODEL_NOT_AVAILABLE")

    def watch(progress: BatchProgress) -> None:
        if progress.errors:
            clock.ahead += 900

    scripted.write(rows(3))
    patient = scripted.client(policy=policy(attempts=1_000_000))
    with pytest.raises(BatchStopped, match="no answer for 30 minutes; the last error: ") as caught:
        scripted.run_on(clock, client=patient, on_progress=watch, row_timeout=10_000)
    assert (caught.value.report.failed, caught.value.report.unfinished) == (0, 3)
    assert clock.ahead >= 1_800


def test_a_key_that_fails_to_come_ends_the_run(scripted: Job) -> None:
    def key() -> str:
        raise KeyError("vault")

    with pytest.raises(KeyError, match="vault"):
        scripted.run(rows(5), client=scripted.client(api_key=key))


@pytest.mark.parametrize("kind", [ZeroDivisionError, OSError])
@pytest.mark.parametrize("calls", [1, 2])
def test_a_callback_that_fails_ends_the_run(job: Job, kind: type[Exception], calls: int) -> None:
    seen: list[BatchProgress] = []

    def fail(progress: BatchProgress) -> None:
        seen.append(progress)
        if len(seen) == calls:
            raise kind("of the callback")

    with pytest.raises(kind, match="of the callback"):
        job.run(rows(300), on_progress=fail, rpm=60)
    assert len(seen) == calls


@pytest.mark.slow
def test_a_file_that_cannot_grow_stops_the_batch_until_it_can(job: Job) -> None:
    job.write(rows(200))
    with (
        no_file_above(20_000),
        pytest.raises(BatchStopped, match=r"cannot write .*results\.jsonl: File too large") as caught,
    ):
        job.run(concurrency=4)
    report = caught.value.report
    assert 0 < report.succeeded == len(read(job.results)) < 200
    assert report.unfinished == 200 - report.succeeded
    assert job.run().resumed == report.succeeded
    job.assert_complete(f"r{number}" for number in range(200))


def test_a_full_disk_stops_the_batch(job: Job) -> None:
    job.results.symlink_to("/dev/full")
    with pytest.raises(BatchStopped, match=r"cannot write .*results\.jsonl: No space left on device") as caught:
        job.run(rows(40), concurrency=2)
    assert caught.value.needs_change


def test_results_that_cannot_be_put_in_order_are_told_with_the_report(job: Job) -> None:
    job.run(rows(20))
    told = r"the results are whole, but cannot be put in order: .*results\.jsonl: File too large"
    with no_file_above(2_000), pytest.raises(BatchStopped, match=told) as caught:
        job.run(ordered=True)
    report = caught.value.report
    assert (report.succeeded, caught.value.needs_change, str(report.stopped)[:21]) == (
        20,
        False,
        "the results are whole",
    )
    assert job.run(ordered=True).succeeded == 20
    job.assert_complete(f"r{number}" for number in range(20))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_nothing_is_sent_where_answers_cannot_be_kept(
    job: Job, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    job.run(rows(3))
    job.write(rows(9))
    sent = len(emulator.requests)
    monkeypatch.setattr(os, "fsync", fail)
    free = f"6 of 9 rows are unfinished: free some space on {job.folder}, then start the same again$"
    with pytest.raises(BatchStopped, match=free) as caught:
        job.run()
    assert (caught.value.needs_change, caught.value.report.sent) == (True, 0)
    assert all(each.path.endswith("/models") for each in emulator.requests[sent:])
    assert [each.name for each in job.folder.iterdir() if each.name.startswith("tmp")] == []
    job.write(rows(3))
    assert job.run().resumed == 3  # with nothing to send, no room is needed


def test_a_folder_that_takes_no_large_files_is_no_full_disk(job: Job) -> None:
    with no_file_above(100_000):
        assert job.run(rows(3)).succeeded == 3


def test_a_report_holds_what_the_service_said_of_an_example(scripted: Job, server: Server) -> None:
    server.always = Reply(400, {"reason": "INVALID_REQUEST_BODY", "message": "the voice\n'x' is unknown"})
    report = scripted.run(rows(3))
    assert report.said == {"INVALID_REQUEST_BODY": "the voice 'x' is unknown"}


def test_a_disk_that_keeps_nothing_stops_the_batch(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(BatchStopped, match=r"cannot write .*results\.jsonl: Input/output error") as caught:
        job.run(rows(3))
    assert caught.value.report.sent == 3
    monkeypatch.undo()
    assert job.run().sent == 0
    job.assert_complete(["r0", "r1", "r2"])


@pytest.mark.parametrize("duplicate", [copy.copy, lambda stop: pickle.loads(pickle.dumps(stop))])  # noqa: S301 - its own
def test_why_a_batch_stopped_can_go_to_another_process(duplicate: Any) -> None:
    stop = BatchStopped("why", BatchReport(total=3, succeeded=1))
    twin = duplicate(stop)
    assert (type(twin), str(twin), twin.report) == (BatchStopped, "why", stop.report)


@pytest.mark.parametrize(
    ("reply", "sent"),
    [
        (error(401, "INVALID_API_KEY"), 1),
        (error(403, "NOT_ENOUGH_BALANCE"), 1),
        (Reply(403, body=(b"<h1>Forbidden</h1>",), pause=0.1), 3),  # so slow that rows are to be sent again meanwhile
    ],
)
def test_what_refuses_every_request_is_learned_from_few(
    scripted: Job, server: Server, monkeypatch: pytest.MonkeyPatch, reply: Reply, sent: int
) -> None:
    monkeypatch.setattr(standing, "ALONE", 60.0)  # however slow the machine is
    server.always = reply
    with pytest.raises(BatchStopped) as caught:
        scripted.run(rows(200))
    assert (caught.value.report.sent, caught.value.report.unfinished) == (sent, 200)


def test_a_first_answer_that_takes_long_does_not_hold_the_others_up(job: Job, emulator: Emulator) -> None:
    emulator.latency = 3 * standing.ALONE  # about one report of progress comes between the others and the first answer
    seen: list[tuple[int, int]] = []
    job.run(rows(5), on_progress=lambda progress: seen.append((progress.in_flight, progress.succeeded)))
    assert (5, 0) in seen
