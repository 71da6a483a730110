"""The lock-step process's reading of an event file: as it grows, to its end, and wherever it is wrong."""

import threading

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.endpoint import Endpoint
from kv_endpoint.golden.events.port import EngineKind, Lane, pack, unpack
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.sim.run.checker import Checker, follow

TINY = preset("tiny")


@pytest.fixture(scope="module")
def lines():
    """The event file of a short run with evictions and bypasses, made by the golden model alone."""
    written = []
    letters = {Lane.SLOT: "S", Lane.ENGINE: "E"}
    endpoint = Endpoint(
        TINY, on_record=lambda lane, record: written.append(f"{letters[lane]} {pack(TINY, lane, **record):x}\n")
    )
    assert endpoint.pool(TINY.pool_frames_min) is None
    for step in range(1, 6):
        endpoint.hint(step % 4, [(block, 4000 * block) for block in range(8)], step)
        for block in range(8):
            endpoint.write(step % 4, block)
            endpoint.read((step + 1) % 4, block)
    return written


def checked(path, config=TINY):
    checker = Checker(config)
    checker.run(path, lambda: True, lambda: None)
    return checker


def changed(line, **values):
    """The line with fields of its record replaced."""
    letter, payload = line.split()
    lane = Lane.SLOT if letter == "S" else Lane.ENGINE
    return f"{letter} {pack(TINY, lane, **unpack(TINY, lane, int(payload, 16)) | values):x}\n"


def fields(line):
    letter, payload = line.split()
    return unpack(TINY, Lane.SLOT if letter == "S" else Lane.ENGINE, int(payload, 16))


def first(lines, letter, kind):
    return next(i for i, line in enumerate(lines) if line[0] == letter and fields(line)["kind"] == kind)


def test_every_record_of_a_sound_file_is_checked_and_counted(lines, tmp_path):
    path = tmp_path / "events.txt"
    path.write_text("".join(lines))
    checker = checked(path)
    assert checker.mismatch is None
    assert checker.checked == len(lines) == checker.statistics.events
    assert checker.victims == checker.statistics.evictions > 0


def test_a_growing_file_is_read_to_its_end(lines, tmp_path):
    path = tmp_path / "events.txt"
    ended = threading.Event()

    def write():
        with open(path, "w", buffering=1 << 14) as file:
            for line in lines:
                file.write(line)
        ended.set()

    writer = threading.Timer(0.2, write)
    writer.start()
    assert list(follow(path, ended.is_set)) == [line.rstrip("\n") for line in lines]
    writer.join()


def test_a_file_that_never_came_has_no_lines(tmp_path):
    assert list(follow(tmp_path / "events.txt", lambda: True)) == []


def test_a_line_cut_off_by_a_stopped_writer_is_dropped(tmp_path):
    path = tmp_path / "events.txt"
    path.write_text("one\ntwo\nthr")
    assert list(follow(path, lambda: True)) == ["one", "two"]


def test_a_wrong_field_is_named_with_its_place(lines, tmp_path):
    wrong = first(lines, "S", SlotKind.HINT)
    seen = fields(lines[wrong])
    changed_line = changed(lines[wrong], ema=seen["ema"] ^ 1)
    path = tmp_path / "events.txt"
    path.write_text("".join([*lines[:wrong], changed_line, *lines[wrong + 1 :]]))
    checker = checked(path)
    assert checker.checked == wrong
    for part in (f"step {seen['step']}", f"head {seen['head']}", f"block {seen['block']}", "ema",
                 f"expected {seen['ema']}", f"seen {seen['ema'] ^ 1}"):  # fmt: skip
        assert part in checker.mismatch


def test_a_wrong_victim_is_found(lines, tmp_path):
    wrong = first(lines, "E", EngineKind.VICTIM)
    other = (fields(lines[wrong])["block"] + 1) % TINY.blocks_per_head
    path = tmp_path / "events.txt"
    path.write_text("".join([*lines[:wrong], changed(lines[wrong], block=other), *lines[wrong + 1 :]]))
    assert "VICTIM" in checked(path).mismatch


@pytest.mark.parametrize("letter", ["S", "E"])
def test_a_missing_record_is_a_mismatch(lines, tmp_path, letter):
    gone = max(i for i, line in enumerate(lines) if line[0] == letter)
    path = tmp_path / "events.txt"
    path.write_text("".join([*lines[:gone], *lines[gone + 1 :]]))
    assert checked(path).mismatch is not None


def test_a_file_that_ends_early_leaves_something_owed(lines, tmp_path):
    opened = first(lines, "E", EngineKind.MISS_OPEN)
    path = tmp_path / "events.txt"
    path.write_text("".join(lines[: opened + 1]))
    assert "owed" in checked(path).mismatch
