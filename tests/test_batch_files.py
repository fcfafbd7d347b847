"""What happens to the files of a job while it runs and between its starts: nothing is lost, nothing is in vain."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, PROGRAM, Job, body, environment, read, row, rows
from structlog.testing import capture_logs

from novita_openai import batch
from novita_openai.batch import BatchInputError, BatchProgress, BatchStopped, locks
from novita_openai.batch.files import ResultFiles, is_kept, opened_outlet
from novita_openai.batch.jsonl import Journal, LockedError, numbered_lines
from novita_openai.batch.requests import Source
from novita_openai.emulator import Emulator, Fault


def damaged(path: Path, number: int, text: bytes) -> None:
    """Replace a line."""
    lines = path.read_bytes().splitlines()
    lines[number] = text
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def bare(*texts: str) -> list[dict[str, Any]]:
    """Return rows without custom_ids."""
    return [body(text) for text in texts]


def names(job: Job) -> dict[str, str]:
    """Return what each answered row asked, by the digest of its request, under its custom_id."""
    return {name: each["id"] for name, each in job.answers().items()}


# Results that do not stay in their place.


def no_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("")


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("")
    other.rename(path)


SPOILS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "removed": (Path.unlink, "moved or removed"),
    "moved": (lambda path: path.rename(path.with_name("moved.jsonl")), "moved or removed"),
    "its folder removed": (lambda path: shutil.rmtree(path.parent), "moved or removed"),
    "a file for its folder": (no_folder, "moved or removed"),
    "replaced": (replaced, "replaced by another file"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:10]), "cut"),
    "emptied": (lambda path: os.truncate(path, 0), "cut"),
}


@pytest.mark.parametrize("how", SPOILS)
@pytest.mark.parametrize("which", ["results", "errors"])
def test_results_that_do_not_stay_in_their_place_stop_the_job(
    job: Job, emulator: Emulator, how: str, which: str
) -> None:
    spoil, told = SPOILS[how]
    results = job.folder / "sub" / "results.jsonl"
    results.parent.mkdir()
    paths = {"results": results, "errors": results.parent / "results.errors.jsonl"}
    job.write([row("bad", max_tokens=-1), *rows(200)])
    done: list[int] = []

    def watch(progress: BatchProgress) -> None:
        if progress.succeeded > 5 and progress.failed and not done:
            done.append(progress.succeeded)
            spoil(paths[which])

    emulator.latency = 0.01
    with pytest.raises(BatchStopped, match=f"it was {told} while the job ran") as caught:
        batch.run(job.requests, results, client=job.client(), concurrency=2, on_progress=watch)
    report = caught.value.report
    kept = [len(read(path)) if path.is_file() and how != "cut" else 0 for path in paths.values()]
    if how != "cut":
        assert [report.succeeded, report.failed] == kept
    assert report.unfinished > 0
    assert report.sent <= 201


def test_results_that_are_removed_after_the_last_row_are_told(job: Job) -> None:
    job.write(rows(1))

    def watch(progress: BatchProgress) -> None:
        if progress.succeeded:
            job.results.unlink(missing_ok=True)

    with pytest.raises(BatchStopped, match=r"moved or removed(.|\n)*: put the file back, then start") as caught:
        job.run(on_progress=watch, ordered=True)
    assert (caught.value.report.succeeded, caught.value.report.unfinished) == (0, 1)


# Links, modes, temporary files.


def test_results_behind_a_link_stay_behind_it(job: Job) -> None:
    there = job.folder / "there"
    there.mkdir()
    for path in (job.results, job.errors):
        path.symlink_to(there / path.name)
    job.run([*rows(3), row("bad", max_tokens=-1)], ordered=True)
    assert job.run(ordered=True, retry_failed=True).failed == 1
    assert all(path.is_symlink() for path in (job.results, job.errors))
    assert list(job.answers()) == ["r0", "r1", "r2"]
    assert sorted(each.name for each in there.iterdir()) == ["results.errors.jsonl", "results.jsonl"]


def test_a_link_that_leads_nowhere_is_left_after_bad_input(job: Job) -> None:
    job.results.symlink_to(job.folder / "there.jsonl")
    with pytest.raises(BatchInputError):
        job.run(["{"])
    assert job.results.is_symlink()
    assert not (job.folder / "there.jsonl").exists()


def test_rows_are_replaced_through_no_link_and_under_the_mode_of_the_file(tmp_path: Path) -> None:
    path, victim = tmp_path / "a.jsonl", tmp_path / "victim"
    path.write_text("{}\n")
    path.chmod(0o600)
    victim.write_text("precious")
    (tmp_path / f".a.jsonl.{os.getpid()}.new").symlink_to(victim)
    modes: list[int] = []

    def content() -> Iterator[bytes]:
        (beside,) = (each for each in tmp_path.glob(".a.jsonl.*.new") if not each.is_symlink())
        modes.append(stat.S_IMODE(beside.stat().st_mode))
        yield b"[1]"

    with Journal(path) as journal:
        journal.replace(content())
    assert (victim.read_text(), path.read_text(), modes) == ("precious", "[1]\n", [0o600])
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_long_name_can_be_replaced(tmp_path: Path) -> None:
    with Journal(tmp_path / ("n" * 240 + ".jsonl")) as journal:
        journal.replace([b"1"])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_lock_names_nobody_where_the_system_does_not_say_who_has_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCKS", job.folder / "nowhere")
    with Journal(job.results), pytest.raises(LockedError, match=r"writing this file: "):
        Journal(job.results)


# Filesystems without locks.


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_lock_file_keeps_others_out(job: Job) -> None:
    lock = job.folder / ".results.jsonl.lock"
    with Journal(job.results) as journal:
        assert lock.read_text() == f"{socket.gethostname()} {os.getpid()}"
        with pytest.raises(
            LockedError, match=rf"\(process {os.getpid()} on .*\), or was killed: .* remove .*\.results\.jsonl\.lock"
        ):
            Journal(job.results)
        journal.replace([])
        assert lock.exists()
    assert not lock.exists()
    assert job.run(rows(2), ordered=True).succeeded == 2
    assert sorted(each.name for each in job.folder.glob("*results*")) == ["results.errors.jsonl", "results.jsonl"]


def test_empty_lines_in_the_results_are_in_the_way_of_nothing(job: Job) -> None:
    job.run(rows(3))
    one, two, three = job.results.read_text().splitlines()
    job.results.write_text(f"\n{three}\r\n\n  \n{one}\n{two}\n\n")
    same = row("again") | {"body": row("r0")["body"] | {"temperature": 0}}
    assert job.run([*rows(3), same], ordered=True, dedupe=True).succeeded == 4
    assert list(job.answers()) == ["r0", "r1", "r2", "again"]


def test_failed_rows_need_a_file_of_their_own(job: Job) -> None:
    job.errors.symlink_to(job.results.name)
    with pytest.raises(BatchInputError, match="is the same file: remove that link"):
        job.run(rows(1))


def test_a_lock_file_goes_with_a_file_that_is_replaced_while_it_is_opened(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        if not list(job.folder.glob("new*")):
            (job.folder / "new").write_text("")
            (job.folder / "new").rename(job.results)
            (job.folder / "new2").write_text("")
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with Journal(job.results) as journal:
        journal.check()
    assert not (job.folder / ".results.jsonl.lock").exists()


@pytest.mark.usefixtures("no_locks")
def test_a_lock_file_of_a_process_that_has_ended_is_taken_over(job: Job) -> None:
    (job.folder / ".results.jsonl.lock").write_text(f"{socket.gethostname()} {ENDED}")
    assert job.run(rows(1)).succeeded == 1


@pytest.mark.usefixtures("no_locks")
def test_a_lock_file_that_another_process_takes_over_first_is_given_back(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, rename = job.folder / ".results.jsonl.lock", Path.rename
    lock.write_text(f"{socket.gethostname()} {ENDED}")

    def after_another(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        lock.write_text(f"{socket.gethostname()} 1")
        return path.rename(target)

    monkeypatch.setattr(Path, "rename", after_another)
    with pytest.raises(LockedError):
        Journal(job.results)
    assert lock.read_text() == f"{socket.gethostname()} 1"


ENDED = 2**22 + 1
"""No process has this number, as it is above the highest that Linux gives."""


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("words", ["elsewhere 1", "", f"{socket.gethostname()} 1", f"{socket.gethostname()} x"])
def test_a_lock_file_of_which_nobody_knows_is_kept(job: Job, words: str) -> None:
    lock = job.folder / ".results.jsonl.lock"
    lock.write_text(words)
    with pytest.raises(LockedError, match="remove"):
        job.run(rows(1))
    assert lock.read_text() == words


# What keeps nothing.


def test_a_pipe_without_a_reader_is_refused_before_anything_is_sent(job: Job, emulator: Emulator) -> None:
    os.mkfifo(job.results)
    with pytest.raises(OSError, match="nobody reads this pipe"):
        job.run(rows(2))
    assert emulator.requests == []


def test_a_pipe_gets_answers_and_failed_rows(job: Job) -> None:
    os.mkfifo(job.results)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(job.results.read_bytes()))
    opened = os.open(job.results, os.O_RDONLY | os.O_NONBLOCK)  # so that the reader need not be there first
    reader.start()
    report = job.run([*rows(3), row("bad", max_tokens=-1)])
    os.close(opened)
    reader.join()
    assert (report.succeeded, report.failed) == (3, 1)
    assert sorted(json.loads(line)["custom_id"] for line in got[0].splitlines()) == ["bad", "r0", "r1", "r2"]
    assert not job.errors.exists()


def test_a_device_is_written_and_no_file_comes_beside_it(job: Job) -> None:
    job.write(rows(2))
    assert batch.run(job.requests, "/dev/null", client=job.client()).succeeded == 2
    assert not Path("/dev/null.errors").exists()
    with pytest.raises(BatchStopped, match="cannot write /dev/full: No space") as caught:
        batch.run(job.requests, "/dev/full", client=job.client())
    assert caught.value.report.succeeded == 0


def test_standard_output_is_known_by_its_other_names(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    job.write(rows(2))
    batch.run(job.requests, "/dev/stdout", client=job.client())
    assert len(capfd.readouterr().out.splitlines()) == 2
    assert not is_kept("/dev/stdout")
    assert is_kept(job.folder / "new")
    assert is_kept(job.folder)


def test_a_closed_standard_output_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="it is closed: 'standard output'"), opened_outlet("-"):
        pass
    assert is_kept("/dev/fd/0") in (True, False)


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened_outlet(tmp_path / "none"):
        pass


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_error_is_no_obstacle(job: Job, closed: str) -> None:
    job.write([*rows(2), row("bad", max_tokens=-1)])
    command = [*PROGRAM, str(job.requests), "-o", str(job.results)]
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command], env=environment(job), check=False, timeout=60
    )
    assert ended.returncode == 1
    job.assert_complete(["r0", "r1", "bad"])


# Damage in the results.


@pytest.mark.parametrize("which", ["results", "errors"])
@pytest.mark.parametrize(
    "text",
    [b"\0" * 50, b'{"id": "batch_req_12", "custom_id": "r1", "resp', b"[]", b'{"id": "batch_req_x", "custom_id": "a"}'],
)
def test_a_damaged_line_is_set_aside_and_its_row_asked_again(job: Job, which: str, text: bytes) -> None:
    bad = [row(f"bad{number}", max_tokens=-1) for number in range(3)]
    job.run([*rows(3), *bad])
    path: Path = getattr(job, which)
    place = 0 if which == "results" else 1
    damaged(path, place, text)
    with capture_logs() as logs:
        report = job.run([*rows(3), *bad])
    kept_in = path.with_name(f"{path.stem}.damaged.jsonl")
    facts = {"file": str(path), "count": 1, "lines": [place + 1], "kept_in": str(kept_in)}
    assert logs[:1] == [{"event": "batch.damaged_rows", "log_level": "warning", **facts}]
    assert (report.sent, report.resumed, report.succeeded, report.failed) == (1, 5, 3, 3)
    assert kept_in.read_bytes() == text + b"\n"
    job.assert_complete(["r0", "r1", "r2", "bad0", "bad1", "bad2"])


def test_a_run_that_is_refused_leaves_a_damaged_line_where_it_is(job: Job) -> None:
    job.run(rows(3))
    damaged(job.results, 1, b"x")
    before = job.results.read_bytes()
    with pytest.raises(BatchInputError, match="of another request"):
        job.run([row("r0", temperature=1), *rows(3)[1:]])
    assert job.results.read_bytes() == before


# Rows without a custom_id, and rows that left.


@pytest.mark.parametrize(
    ("texts", "sent", "left"),
    [
        ("new a b c d", 1, []),
        ("a b new c d", 1, []),
        ("d c b a", 0, []),
        ("a b c d a", 1, []),
        ("a b c", 0, ["left-1"]),
        ("a x c d", 1, ["left-1"]),
        ("x y d", 2, ["left-1", "left-2", "left-3"]),
    ],
)
def test_an_inserted_line_pays_for_itself_alone(job: Job, texts: str, sent: int, left: list[str]) -> None:
    job.run(bare("a", "b", "c", "d"))
    asked = dict(zip("abcd", (names(job)[f"line-{number}"] for number in range(1, 5)), strict=True))
    before = [each["response"] for each in read(job.results)]
    with capture_logs() as logs:
        report = job.run(bare(*texts.split()))
    count = len(texts.split())
    assert (report.total, report.succeeded, report.sent) == (count, count, sent)
    job.assert_complete([*(f"line-{number}" for number in range(1, count + 1)), *left])
    for number, text in enumerate(texts.split(), start=1):
        assert names(job)[f"line-{number}"] == asked.get(text, names(job)[f"line-{number}"])
    after = [each["response"] for each in read(job.results)]
    assert all(response in after for response in before)
    assert [each["count"] for each in logs] == ([len(left)] if left else [])
    again = job.run(bare("a", "b", "c", "d"))
    assert (again.sent, again.succeeded) == (0, 4)


def test_equal_rows_without_custom_ids_have_a_result_each(job: Job) -> None:
    job.run(bare("a", "a", "b"))
    report = job.run(bare("b", "a", "a", "a"))
    assert (report.sent, report.succeeded) == (1, 4)
    job.assert_complete(f"line-{number}" for number in range(1, 5))


def test_failed_rows_without_custom_ids_move_too(job: Job) -> None:
    bad = body("bad", max_tokens=-1)
    job.run([bad, body("a")])
    (failed,) = read(job.errors)
    report = job.run([body("a"), body("new"), bad])
    assert (report.sent, report.succeeded, report.failed, report.resumed) == (1, 2, 1, 2)
    assert read(job.errors) == [failed | {"custom_id": "line-3"}]
    report = job.run([bad, body("a")], retry_failed=True)
    assert (report.sent, report.failed) == (1, 1)
    assert job.failures()["line-1"]["spent"]["requests"] == 2
    job.assert_complete(["line-1", "line-2", "left-1"])


def test_a_failure_without_a_custom_id_that_is_answered_leaves_the_errors(job: Job) -> None:
    job.run(bare("a", "b"))
    failed = read(job.results)[0] | {"response": None, "error": {}}
    job.errors.write_text(f"{json.dumps(failed)}\n" * 2)
    report = job.run(bare("new", "a", "b"))
    assert (report.succeeded, report.failed, report.sent) == (3, 0, 1)
    assert read(job.errors) == []


def test_rows_that_others_have_written_anew_are_renamed_all_the_same(job: Job) -> None:
    job.run(bare("a"))
    (answer,) = read(job.results)
    answer["response"]["body"]["note"] = {"custom_id": "line-1"}
    turned = {"response": answer.pop("response"), **answer}
    job.results.write_text(json.dumps(turned) + "\n")
    assert job.run(bare("new", "a")).sent == 1
    assert job.answers()["line-2"] == turned | {"custom_id": "line-2"}


def test_results_of_quite_another_input_are_refused(job: Job, emulator: Emulator) -> None:
    job.run(bare("a", "b"))
    count = emulator.request_count
    with pytest.raises(BatchInputError, match="2 rows without a custom_id, and none of them is of this input"):
        job.run(bare("x", "y"))
    job.results.write_bytes(job.results.read_bytes() * 2)
    with pytest.raises(BatchInputError, match="hold custom_id 'line-1' twice"):
        job.run(bare("a", "b"))
    assert emulator.request_count == count


def test_rows_that_left_the_input_are_told(job: Job) -> None:
    job.run([*rows(9), row("bad", max_tokens=-1)])
    with capture_logs() as logs:
        job.run(rows(2))
    (told,) = logs
    assert (told["event"], told["count"], told["file"]) == ("batch.rows_left_input", 8, str(job.results))
    assert len(set(told["examples"]) - {"r0", "r1"}) == 5


# Input that does not end.


def test_a_line_that_does_not_end_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novita_openai.batch.requests.LONGEST_ROW", 2_000_000)
    packed = job.folder / "bomb.jsonl.gz"
    for content in (b"\0" * 9_000_000, b"\n" * 9_000_000, b"\n{}" + b"x" * 9_000_000):
        packed.write_bytes(gzip.compress(content))
        with pytest.raises(BatchInputError, match=r"bomb\.jsonl\.gz: (line \d+: )?more than 2 MB") as caught:
            batch.run(packed, job.results, client=job.client())
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(BatchInputError, match="/dev/zero: more than 2 MB without the end of a line"):
        Source("/dev/zero")


def test_long_lines_up_to_the_limit_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 9 + b"\n" + b"y" * 10 + b"\n\n" + b"z" * 10)
    with path.open("rb") as file:
        assert [number for number, _ in numbered_lines(file, 11)] == [1, 2, 4]
    with path.open("rb") as file, pytest.raises(ValueError, match="line 2: more than"):
        list(numbered_lines(file, 10))


def test_an_input_that_is_something_else_is_not_read_to_its_end(job: Job) -> None:
    job.requests.write_text("{}\n" * 12_000)
    with pytest.raises(BatchInputError) as caught:
        job.run()
    assert len(caught.value.errors) == 10_000


def test_only_files_that_are_there_are_removed_after_bad_input(tmp_path: Path) -> None:
    with Source("/dev/null") as source, ResultFiles(tmp_path / "r.jsonl", source) as files:
        files.answers.path.unlink()
        files.discard_new()
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_models_list_changes_nothing_of_this(job: Job, emulator: Emulator) -> None:
    job.run(bare("a"))
    emulator.script.append(Fault("SERVICE_NOT_AVAILABLE"))
    assert job.run(bare("b", "a"), model=MODEL).sent == 1


def test_results_in_a_folder_that_does_not_exist_are_refused(job: Job, emulator: Emulator) -> None:
    job.write(rows(1))
    with pytest.raises(FileNotFoundError, match=f"no such folder; make it, or give another: '{job.folder / 'no'}'"):
        batch.run(job.requests, job.folder / "no" / "results.jsonl", client=job.client())
    assert emulator.requests == []
