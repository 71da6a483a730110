"""Waves for people: values and words in the file, layouts that name what is in it, a whole run."""

import re

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.pipeline.metadata import SlotKind, State
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.hw.common import layouts
from kv_endpoint.sim.cli import main
from kv_endpoint.sim.results.folder import MARKER
from kv_endpoint.sim.trace.wave_layout import Group, Wave, groups
from kv_endpoint.sim.trace.waves import WaveError, rewrite, save_gtkwave, save_surfer

HEADER = """$timescale
  10ns
$end
$scope module TOP $end
$scope module bench $end
$var wire 8 b valid [7:0] $end
$scope module endpoint $end
$var wire 1 ! valid $end
$var wire 8 " kind [7:0] $end
$scope module inner $end
$var wire 4 # level [3:0] $end
$upscope $end
$upscope $end
$upscope $end
$upscope $end
$enddefinitions $end
"""
LAYOUT = (
    Group("outer", (Wave("what", ("valid", "kind"), lambda valid, kind: f"kind {kind}" if valid else ""),)),
    Group("inner", (Wave("level", ("inner.level",)), Wave("valid", ("valid",)))),
)


def written(tmp_path, changes, layout=LAYOUT):
    (tmp_path / "in.vcd").write_text(HEADER + changes)
    shown = rewrite(tmp_path / "in.vcd", tmp_path / "out.vcd", layout)
    return shown, (tmp_path / "out.vcd").read_text()


def history(text, scope, name):
    """[(time, value)] of a variable of a VCD file."""
    body = text[text.index(f"$scope module {scope} $end") :]
    code = re.search(rf"^\$var \w+ \d+ (\S+) {re.escape(name)}(?: \[\S+\])? \$end$", body, re.MULTILINE)[1]
    time, found = 0, []
    for line in text[text.index("$enddefinitions") :].splitlines():
        if line.startswith("#"):
            time = int(line[1:])
        match = re.fullmatch(rf"(?:s|b)?(\S*?) ?{re.escape(code)}", line)
        if match and line.split()[-1].endswith(code):
            found.append((time, match[1]))
    return found


def test_words_follow_every_source_and_values_stay_values(tmp_path):
    shown, text = written(tmp_path, '#0\n0!\nb101 "\nb11 #\n#10\n1!\n#20\nb111 "\n#30\nbx "\n#40\n0!\nb1 "\nb1000 #\n')
    assert shown == {("outer", "what"): None, ("inner", "level"): 4, ("inner", "valid"): 1}
    assert "$timescale 10 ns $end" in text
    assert history(text, "outer", "what")[1:] == [(10, "kind_5"), (20, "kind_7"), (30, "x"), (40, "")]
    assert history(text, "inner", "level") == [(0, "11"), (40, "1000")]


def test_a_signal_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WaveError, match="wave outer.what: no signal nothing in"):
        written(tmp_path, "", (Group("outer", (Wave("what", ("nothing",)),)),))


def test_both_layouts_name_every_wave_of_the_file(tmp_path):
    shown, text = written(tmp_path, "#0\n0!\n")
    waves = tmp_path / "out.vcd"
    save_gtkwave(tmp_path / "out.gtkw", waves, shown)
    save_surfer(tmp_path / "out.sucl", shown)
    traces = [line.split()[-1] for line in (tmp_path / "out.gtkw").read_text().splitlines() if line.startswith("+")]
    assert traces == ["endpoint.outer.what", "endpoint.inner.level[3:0]", "endpoint.inner.valid"]
    assert "-outer\n" in (tmp_path / "out.gtkw").read_text()
    assert (tmp_path / "out.sucl").read_text().splitlines() == [
        "divider_add outer", "variable_add endpoint.outer.what", "divider_add inner",
        "variable_add endpoint.inner.level", "variable_add endpoint.inner.valid", "zoom_fit",
    ]  # fmt: skip


def test_records_notes_and_states_are_words():
    config = preset("tiny")
    waves = {(group.name, wave.label): wave for group in groups(config, reset_regions(config)) for wave in group.waves}
    record = waves["events", "slot_record"].text
    assert record(1, SlotKind.PROMOTE, 0, 3, 7, State.COLD, State.PROMOTING) == "PROMOTE DONE h3 b7 COLD>PROMOTING"
    assert record(0, SlotKind.PROMOTE, 0, 3, 7, State.COLD, State.PROMOTING) == ""
    note = waves["events", "engine_record"].text
    assert note(1, EngineKind.ERROR, 0, 0, ErrorKind.PAGE_READ, 5) == "ERROR PAGE_READ"
    assert note(1, EngineKind.PREFETCH_DROPPED, 1, 2, 0, 3 << 8 | 1) == "PREFETCH_DROPPED h1 b2 WINDOW NOT_WORTH"
    request = waves["host", "req"].text
    lines_of_a_head = config.blocks_per_head * 128
    assert request(1, 1, 0x2A, 3 * lines_of_a_head + 2 * 128 + 9) == "MEM_RD h3 b2 l9 #2a"
    assert request(1, 1, 0, config.heads * lines_of_a_head + 2) == "MEM_RD hint h2 #0"
    service = next(wave for (group, label), wave in waves.items() if group == "residency" and "service" in label)
    assert service.text(0) == "PICK"
    page = dict(layouts.page_command(config).members)
    assert waves["flash", "page_command"].text(1, 1, 3 << 4 | 5, 17, 1) == "write h3 b5 frame 17 MXINT8"
    assert page["page"] == config.index_bits


def test_a_run_gives_waves_and_layouts(tmp_path, capsys):
    rows = ["step,op,layer,kv_head,block,score"]
    for step in range(1, 18):
        for head in range(4):
            rows.append(f"{step},append,0,{head},{(step - 1) // 16},")
            rows.append(f"{step},read,0,{head},0,")
    (tmp_path / "short.csv").write_text("\n".join(rows) + "\n")
    arguments = [
        "waves",
        "--prefill",
        "0",
        "--workload",
        str(tmp_path / "short.csv"),
        "--preset",
        "tiny",
        "--simulator",
        "icarus",
    ]
    assert main([*arguments, "--steps", "2", "--frames-share", "1", "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        MARKER,
        "waves.gtkw",
        "waves.sucl",
        "waves.vcd",
    ]
    text = (tmp_path / "out" / "waves.vcd").read_text()
    requests = [value for _, value in history(text, "host", "rwd")]
    assert any(re.fullmatch(r"MEM_WR_h3_b0_l\d+_#\w+", value) for value in requests)
    notes = [value for _, value in history(text, "events", "engine_record")]
    assert "STEP_1" in notes and "MISS_OPEN_h0_b0" in notes
    assert main([*arguments, "--steps", "0", "--out", str(tmp_path / "out")]) == 2
    assert "--steps 0" in capsys.readouterr().err
    assert main([*arguments, "--preset", "nothing"]) == 2
