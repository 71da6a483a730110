"""Workload files: what is accepted, and that every defect is refused with its place, value and rule."""

import gzip
import io

import numpy as np
import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.sim.workload.attention_trace import covering
from kv_endpoint.sim.workload.load import check_fits, load
from kv_endpoint.sim.workload.steps import Access, Replay, WorkloadError

HEADER = "step,op,layer,kv_head,block,score\n"


def arrays(steps=40, layers=2, kv_heads=2, blocks=4):
    """A sound attention trace: all mass on the newest block and the first."""
    mass = np.zeros((steps, layers, kv_heads, blocks), np.float16)
    for t in range(steps):
        mass[t, :, :, 0] += 0.25
        mass[t, :, :, t // 16] += 0.75
    kv = np.ones((steps, layers, kv_heads, 2, 8), np.float16)
    scalars = {"block_tokens": 16, "layers": layers, "kv_heads": kv_heads, "head_dim": 8, "tokens": steps}
    return {"mass": mass, "kv": kv} | {key: np.int32(value) for key, value in scalars.items()}


def save(folder, contents):
    path = folder / "trace.npz"
    np.savez(path, **contents)
    return str(path)


def refused(path, *parts):
    with pytest.raises(WorkloadError) as caught:
        load(str(path))
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), *parts):
        assert part in message, f"{part!r} not in {message!r}"


def test_bundled_trace_by_name_has_the_geometry_of_its_note():
    for name in ("attention-a", "attention-a.npz"):
        workload = load(name)
        assert (workload.steps, workload.heads, workload.blocks) == (512, 20, 32)


def test_covering_blocks_hold_the_share_and_one_fewer_does_not():
    workload = load("attention-a")
    for t in range(0, workload.steps, 37):
        for head in range(workload.heads):
            mass = workload.mass[t, head // 4, head % 4, : t // 16 + 1]
            blocks = covering(mass, 0.95)
            assert blocks == sorted(blocks) and blocks[-1] == t // 16
            needed = [b for b in blocks if mass[b] > 0]
            assert mass[needed].sum() >= 0.95 * mass.sum() - 1e-9
            lightest = min(needed, key=lambda b: mass[b])
            if lightest != t // 16:
                assert mass[needed].sum() - mass[lightest] < 0.95 * mass.sum()


def test_a_step_appends_its_token_just_before_it_reads_the_newest_block(tmp_path):
    workload = load(save(tmp_path, arrays()))
    steps = list(workload.walk(0.95, workload.steps))
    assert len(steps) == 40
    layer = steps[17].layers[1]
    assert layer.accesses == (
        Access(2, 0), Access(2, 1, 1), Access(2, 1), Access(3, 0), Access(3, 1, 1), Access(3, 1),
    )  # fmt: skip
    assert [(hint.head, hint.block, hint.mass, hint.existing) for hint in layer.hints] == [
        (2, 0, 0.25, 2), (2, 1, 0.75, 2), (3, 0, 0.25, 2), (3, 1, 0.75, 2),
    ]  # fmt: skip


def test_prefill_takes_the_first_tokens_in_chunks_and_decodes_the_rest(tmp_path):
    trace = load(save(tmp_path, arrays()))
    workload = trace.prefilled(36, 16)
    steps = list(workload.walk(0.95, workload.steps))
    assert workload.steps == len(steps) == 3 + 4
    assert [step.number for step in steps] == list(range(7))
    first, _, third = (step.layers[0] for step in steps[:3])
    assert first.accesses == tuple(Access(head, 0, token) for head in (0, 1) for token in range(16))
    assert third.accesses[:6] == (Access(0, 0), Access(0, 1), *(Access(0, 2, token) for token in range(4)))
    assert (first.replays, third.replays) == ((), (Replay(0, 2), Replay(1, 2)))
    assert [(hint.head, hint.block, hint.mass, hint.existing) for hint in third.hints] == [
        (head, block, mass, 3) for head in (0, 1) for block, mass in ((0, 0.25), (1, 0), (2, 0.75))
    ]
    decoded = [step.layers for step in trace.walk(0.95, 40)][36:]
    assert [step.layers for step in steps[3:]] == decoded


def test_a_block_that_a_chunk_left_unfinished_is_read_before_the_next_writes_into_it(tmp_path):
    workload = load(save(tmp_path, arrays())).prefilled(20, 10)
    _, second = list(workload.walk(0.95, 2))
    accesses = second.layers[0].accesses
    assert accesses[:2] == (Access(0, 0), Access(0, 0, 10))
    assert second.layers[0].replays == (Replay(0, 1), Replay(1, 1))


def test_prefill_leaves_a_step_to_decode(tmp_path):
    trace = load(save(tmp_path, arrays()))
    assert trace.prefilled(39, 100).steps == 2
    with pytest.raises(WorkloadError, match="--prefill 40: must be below the 40 tokens"):
        trace.prefilled(40, 100)


def _set(array, place, value):
    def change(contents):
        contents[array] = contents[array].astype(np.float64)
        contents[array][place] = value

    return change


def _replace(**new):
    return lambda contents: contents.update(new)


DEFECTS = {
    "no mass": (lambda c: c.pop("mass"), "'mass'", "missing"),
    "no kv": (lambda c: c.pop("kv"), "'kv'", "missing"),
    "no tokens": (lambda c: c.pop("tokens"), "'tokens'", "missing"),
    "scalar is an array": (_replace(layers=np.array([2, 2])), "layers", "one integer"),
    "block of 8 tokens": (_replace(block_tokens=np.int32(8)), "block_tokens = 8", "16"),
    "head of 256 values": (_replace(head_dim=np.int32(256)), "head_dim = 256", "128"),
    "three axes": (lambda c: c.update(mass=c["mass"][0]), "shape of mass"),
    "wrong layers": (lambda c: c.update(layers=np.int32(3)), "shape of mass", "[40, 2, 2, 4]", "[any, 3, 2, any]"),
    "wrong kv": (lambda c: c.update(kv=c["kv"][:, :, :, :1]), "shape of kv"),
    "integer mass": (lambda c: c.update(mass=c["mass"].astype(int)), "type of mass", "int64", "floating-point"),
    "complex kv": (lambda c: c.update(kv=c["kv"].astype(complex)), "type of kv", "complex128"),
    "no steps": (lambda c: c.update(mass=c["mass"][:0]), "shape of mass", "empty"),
    "too few blocks": (lambda c: c.update(mass=c["mass"][..., :2]), "shape of mass", "16 steps"),
    "NaN": (_set("mass", (3, 1, 0, 0), np.nan), "mass[3, 1, 0, 0] = nan", "finite"),
    "infinite kv": (_set("kv", (5, 1, 0, 1, 7), np.inf), "kv[5, 1, 0, 1, 7] = inf", "finite"),
    "kv beyond FP16": (_set("kv", (5, 1, 0, 1, 7), 7e4), "kv[5, 1, 0, 1, 7] = 70000.0", "FP16"),
    "negative": (_set("mass", (4, 0, 1, 0), -0.5), "mass[4, 0, 1, 0] = -0.5", "not negative"),
    "sum": (_set("mass", (20, 1, 1, 1), 0.8), "sum of mass[20, 1, 1] = 1.05", "1 within 0.01"),
    "small sum": (_set("mass", (20, 1, 1, 1), 0.7), "sum of mass[20, 1, 1] = 0.95", "1 within 0.01"),
    "unborn": (_set("mass", (15, 0, 0, 1), 1e-3), "mass[15, 0, 0, 1] = 0.001", "does not exist yet in step 15"),
    "more steps than tokens": (
        lambda c: c.update(kv=c["kv"][:39], tokens=np.int32(39)), "shape of mass", "one step a token"
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_defective_attention_trace_is_refused(tmp_path, defect):
    change, *parts = DEFECTS[defect]
    contents = arrays()
    change(contents)
    refused(save(tmp_path, contents), *parts)


def test_sound_attention_trace_is_accepted(tmp_path):
    assert load(save(tmp_path, arrays())).heads == 4


@pytest.mark.parametrize("kept", [0, 10, 200, 0.5, 0.99])
def test_truncated_archive_is_refused(tmp_path, kept):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays())
    whole = buffer.getvalue()
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    refused(path)


def test_corrupt_and_pickled_archives_are_refused(tmp_path):
    path = tmp_path / "bits.npz"
    np.savez_compressed(path, **arrays())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refused(path)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, mass=np.array([{}], dtype=object))
    refused(pickled)
    text = tmp_path / "text.npz"
    text.write_text("not an archive")
    refused(text)
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, arrays()["mass"])
    refused(tmp_path / "array.npz", "a single array is none")


def test_missing_files_directories_and_unknown_kinds_are_refused(tmp_path):
    refused(tmp_path / "absent.npz", "attention-a")
    refused(tmp_path, "directory")
    other = tmp_path / "trace.txt"
    other.write_text(HEADER)
    refused(other, ".npz")
    refused("x" * 5000)


# Access traces ----------------------------------------------------------------------------------------------------

SOUND = HEADER + "5,hint,0,1,0,0.75\n5,append,0,1,0,\n5,read,0,1,0,\n7,append,1,0,0,\n7,append,0,1,0,\n"


def write(folder, text, name="trace.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_access_trace_counts_steps_from_its_first_and_tokens_by_block(tmp_path):
    workload = load(str(write(tmp_path, SOUND)), idle_heads=True)
    assert (workload.steps, workload.layers, workload.kv_heads, workload.heads, workload.blocks) == (2, 2, 2, 4, 1)
    first, second = workload.walk(0.95, 2)
    assert (first.number, second.number, workload.last_step) == (0, 2, 2)
    assert first.layers[0].accesses == (Access(1, 0, 0), Access(1, 0))
    assert [(h.head, h.block, h.mass, h.existing) for h in first.layers[0].hints] == [(1, 0, 0.75, 1)]
    assert [layer.accesses for layer in second.layers] == [(Access(2, 0, 0),), (Access(1, 0, 1),)]


def test_gzipped_access_trace_is_the_same(tmp_path):
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(SOUND.encode()))
    plain = load(str(write(tmp_path, SOUND)), idle_heads=True)
    assert list(load(str(path), idle_heads=True).walk(0.95, 2)) == list(plain.walk(0.95, 2))


CSV_DEFECTS = {
    "empty": ("", "line 1", "empty"),
    "header only": (HEADER, "no row"),
    "missing column": ("step,op,layer,kv_head,score\n0,read,0,0,\n", "line 1", "'block'", "missing"),
    "other order": ("op,step,layer,kv_head,block,score\n", "line 1", "must be step,op"),
    "few fields": (SOUND + "7,read,0,1,0\n", "line 7", "5 fields", "6"),
    "empty line": (SOUND + "\n7,read,0,1,0,\n", "line 7", "empty line"),
    "unknown op": (SOUND + "7,write,0,1,0,\n", "line 7", "'write'", "read, append or hint"),
    "negative block": (SOUND + "7,read,0,1,-1,\n", "line 7", "block '-1'", "non-negative"),
    "real step": (SOUND + "7.5,read,0,1,0,\n", "line 7", "step '7.5'", "integer"),
    "long step": (SOUND + "9" * 5000 + ",read,0,1,0,\n", "line 7", "digits"),
    "backwards": (SOUND + "6,read,0,1,0,\n", "line 7", "step 6 after step 7", "backwards"),
    "score on read": (SOUND + "7,read,0,1,0,0.5\n", "line 7", "'0.5'", "empty"),
    "no score": (HEADER + "0,hint,0,0,0,\n", "line 2", "score ''", "0 to 1"),
    "negative score": (HEADER + "0,hint,0,0,0,-0.1\n", "line 2", "'-0.1'", "0 to 1"),
    "NaN score": (HEADER + "0,hint,0,0,0,nan\n", "line 2", "'nan'", "0 to 1"),
    "read before append": (SOUND + "7,read,0,1,1,\n", "line 7", "does not exist yet"),
    "hint before append": (SOUND + "8,hint,0,1,1,0.5\n", "line 7", "does not exist yet"),
    "hint after read": (SOUND + "7,hint,0,1,0,0.5\n", "line 7", "before its reads"),
    "hint twice": (SOUND + "8,hint,0,1,0,0.1\n8,hint,0,1,0,0.1\n", "line 8", "once"),
    "gap": (SOUND + "7,append,0,1,2,\n", "line 7", "block 1 must exist first"),
    "full": (SOUND + "8,append,0,1,0,\n" * 15, "line 21", "holds 16 tokens"),
    "sum": (
        SOUND + "8,append,0,1,1,\n9,hint,0,1,0,0.7\n9,hint,0,1,1,0.7\n", "line 9", "1.4000", "1.01"
    ),
    "quote": (SOUND + '7,"read,0,1,0,\n', "not CSV"),
}  # fmt: skip


@pytest.mark.parametrize("defect", CSV_DEFECTS)
def test_defective_access_trace_is_refused(tmp_path, defect):
    text, *parts = CSV_DEFECTS[defect]
    refused(write(tmp_path, text), *parts)


def test_broken_gzip_and_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "trace.csv.gz"
    whole = gzip.compress(SOUND.encode() * 50)
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "gzip")
    path.write_bytes(whole + b"tail")
    refused(path, "gzip")
    raw = tmp_path / "raw.csv"
    raw.write_bytes(SOUND.encode() + b"\xff\xfe\n")
    refused(raw, "line 7", "UTF-8")


def test_workload_beyond_the_preset_is_refused(tmp_path):
    tiny, small = preset("tiny"), preset("small")
    check_fits(load("attention-a"), small)
    with pytest.raises(WorkloadError, match="20 heads: preset 'tiny' holds 4"):
        check_fits(load("attention-a"), tiny)
    with pytest.raises(WorkloadError, match="17 blocks per head: preset 'tiny' holds 16"):
        check_fits(load(save(tmp_path, arrays(blocks=17))), tiny)
    late = write(tmp_path, HEADER + f"0,append,0,0,0,\n{1 << 24},append,0,0,0,\n")
    with pytest.raises(WorkloadError, match="steps"):
        check_fits(load(str(late)), small)


ROWS = "step,op,layer,kv_head,block,score\n0,append,0,0,0,\n1,read,0,0,0,\n"


def test_a_byte_order_mark_and_line_ends_of_other_systems_are_read(tmp_path):
    plain = load(write(tmp_path, ROWS))
    for name, text in (("bom", "\ufeff" + ROWS), ("crlf", ROWS.replace("\n", "\r\n"))):
        path = tmp_path / f"{name}.csv"
        path.write_bytes(text.encode())
        other = load(str(path))
        assert list(other.walk(1, 2)) == list(plain.walk(1, 2))


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_named(separator, called, tmp_path):
    refused(write(tmp_path, ROWS.replace(",", separator)), "line 1", f"not by {called}")


def counted_from_one():
    rows = [f"{step},append,{layer},{head},0," for step in range(2) for layer in (1, 2) for head in (1, 2, 5)]
    return HEADER + "\n".join(rows) + "\n"


def test_a_head_that_never_occurs_is_refused_with_the_ways_on(tmp_path):
    path = write(tmp_path, counted_from_one())
    refused(path, "12 of 3 x 6 heads never occur: (layer 0, kv_head 0)", "--renumber", "--idle-heads")
    assert load(path, idle_heads=True).heads == 18


def test_layers_and_heads_are_counted_anew_and_the_result_says_which_they_were(tmp_path):
    workload = load(write(tmp_path, counted_from_one()), renumber=True)
    assert workload.heads == 6
    assert workload.renumbered == {"layers": [1, 2], "kv_heads": [1, 2, 5]}
    step = next(iter(workload.walk(1, 1)))
    assert [access.head for layer in step.layers for access in layer.accesses] == list(range(6))


def test_numbering_anew_does_not_hide_a_head_that_a_layer_lacks(tmp_path):
    path = write(tmp_path, HEADER + "0,append,1,1,0,\n0,append,2,2,0,\n")
    with pytest.raises(WorkloadError, match=r"2 of 2 x 2 heads never occur: \(layer 0, kv_head 1\)"):
        load(path, renumber=True)
    assert load(path, renumber=True, idle_heads=True).heads == 4


@pytest.mark.parametrize("option", ["renumber", "idle_heads"])
def test_options_of_access_traces_are_refused_with_an_attention_trace(option):
    with pytest.raises(WorkloadError, match=f"--{option.replace('_', '-')}: must be left out"):
        load("attention-a", **{option: True})
