"""Which part of the project may import which, and within a part which room: a folder, or a file at the part's root."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest

from tests.support.paths import ROOT

#: each imports itself and those before it
PARTS = ("golden", "hw", "tb", "sim", "tests")
#: room of hw -> the rooms that it imports
HW = {
    "common": (),
    "lib": ("common",),
    "front": ("common",),
    "pipeline": ("common", "lib"),
    "events": ("common", "pipeline"),
    "coherency/filter": ("common", "lib", "pipeline"),
    "coherency/snoops": ("common", "lib"),
    "coherency": ("common", "lib", "front", "pipeline", "coherency/filter", "coherency/snoops"),
    "data/mxint8": ("common", "lib", "front"),
    "data/sidecar": ("common", "lib", "front"),
    "data": ("common", "lib", "front", "data/mxint8", "data/sidecar"),
    "frames/misses": ("common", "lib"),
    "frames": ("common", "lib", "frames/misses"),
    "prefetch": ("common", "lib"),
    "victims": ("common", "lib", "pipeline"),
    "registers": ("common", "lib", "pipeline", "frames"),
    "endpoint": (
        "common", "lib", "front", "pipeline", "events", "coherency", "data", "frames", "prefetch", "victims",
        "registers",
    ),
    "verilog": ("endpoint",),
    "area": (
        "pipeline", "coherency", "coherency/filter", "data", "data/mxint8", "frames", "victims", "registers",
    ),
}  # fmt: skip
#: room of hw that has no golden folder or file of its name -> why
HW_ALONE = {
    "lib": "what blocks are made of: it decides nothing that golden knows",
    "verilog": "a program, not a block",
    "area": "a program, not a block",
}
#: rooms of tb from below: each imports those of the lines before it
TB = (("lib",), ("stimuli",), ("checks",), ("agents",), ("runs", "interactive"), ("scenarios",))
#: block of the picture in the README -> its golden file
BLOCKS = {
    "front end": "front/frontend",
    "address": "front/address",
    "regions": "front/address",
    "hint window": "front/hints",
    "DevLoad": "front/devload",
    "metadata pipeline": "pipeline/metadata",
    "score": "pipeline/score",
    "phase": "pipeline/phase",
    "tracker": "pipeline/tracker",
    "datapath": "data/datapath",
    "MXINT8": "data/mxint8",
    "sidecar": "data/sidecar",
    "misses": "frames/misses",
    "allocator": "frames/allocator",
    "migration": "frames/migration",
    "bypass": "frames/bypass",
    "victims": "victims/search",
    "prefetch unit": "prefetch/unit",
    "window": "prefetch/window",
    "descriptors": "prefetch/descriptors",
    "snoop filter": "coherency/filter",
    "snoops": "coherency/snoops",
    "held requests": "coherency/held_requests",
    "kept blocks": "coherency/kept_blocks",
    "coverage": "coherency/state",
    "recall": "coherency/state",
    "registers": "registers/state",
    "event port": "events/port",
}
FILES_MAX = 20


def files(part):
    return sorted((ROOT / part).rglob("*.py"))


@cache
def imported(path):
    """[(line, name)] of all that a file imports, anywhere in it; of `from a import b`, "a.b".

    A string that names a module of the package counts too, since `import_module` may get it; but not the one that a
    simulator is told to load (`module=`), in a process of its own.
    """
    names, elsewhere = [], set()
    for node in ast.walk(ast.parse(path.read_text(), path.name)):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            names += [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.keyword) and node.arg == "module":
            elsewhere.add(node.value)
        elif isinstance(node, ast.Constant) and node not in elsewhere and isinstance(node.value, str):
            if node.value.startswith("kv_endpoint.") and located(node.value) is not None:
                names.append((node.lineno, node.value))
    return names


@cache
def located(name):
    """The file or folder of the project that an imported name lies in, from the root; None for any other package."""
    package, *words = name.split(".")
    if package not in ("kv_endpoint", "tests"):
        return None
    place = ROOT / "tests" if package == "tests" else ROOT
    for word in words:
        if (place / f"{word}.py").is_file():
            return (place / f"{word}.py").relative_to(ROOT)
        if not (place / word).is_dir():
            break
        place = place / word
    return place.relative_to(ROOT)


def room(place):
    """The room of a file or folder of a part, within the part."""
    inside = place.relative_to(place.parts[0])
    folder = inside.parent if place.suffix == ".py" else inside
    return folder.as_posix() if folder.parts else inside.stem


def arrows(part):
    """{(room, another room of the part that it imports): ["file:line: name"]}"""
    found = {}
    for path in files(part):
        own = path.relative_to(ROOT)
        for line, name in imported(path):
            place = located(name)
            if place and place.parts[:1] == (part,) and room(place) != room(own):
                found.setdefault((room(own), room(place)), []).append(f"{own}:{line}: {name}")
    return found


def rooms(part):
    """The rooms of a part that hold Python files."""
    return {room(path.relative_to(ROOT)) for path in files(part)} - {"__init__"}


def listed(sources):
    return "\n".join(source for found in sources for source in found)


def test_the_arrows_are_found():
    """What the others count on: a name's file, and an import within a function."""
    assert located("kv_endpoint.hw.common.layouts.Hold").as_posix() == "hw/common/layouts.py"
    assert located("kv_endpoint.hw.common").as_posix() == "hw/common"
    assert located("tests.support.paths.ROOT").as_posix() == "tests/support/paths.py"
    assert located("kv_endpoint.__version__").parts == () and located("numpy.ones") is None
    assert {("verilog", "endpoint"), ("coherency", "coherency/filter")} <= arrows("hw").keys()
    assert {("cli", "trace"), ("cli", "bench"), ("cli", "settings"), ("bench", "run")} <= arrows("sim").keys()


@pytest.mark.parametrize("part", PARTS)
def test_no_part_imports_one_above_it(part):
    allowed = PARTS[: PARTS.index(part) + 1]
    upward = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files(part)
        for line, name in imported(path)
        # The package itself hands out what its parts define, so an import of it may be one of anything.
        if (place := located(name)) is not None
        and not (place.parts[0] in allowed if place.parts else part == "tests" or name == "kv_endpoint.__version__")
    ]
    assert not upward, "\n".join(upward)


def test_golden_imports_nothing_of_the_project_but_golden():
    others = [name for path in files("golden") for _, name in imported(path) if located(name) is not None]
    assert others and all(name.startswith("kv_endpoint.golden.") for name in others)


@pytest.mark.parametrize("part", PARTS[:-1])
def test_no_circle_between_the_rooms_of_a_part(part):
    found = arrows(part)
    graph = TopologicalSorter()
    for importer, source in found:
        graph.add(importer, source)
    try:
        graph.prepare()
    except CycleError as error:
        # Each of the list is imported by the next.
        circle = error.args[1]
        sources = listed(found[importer, source] for source, importer in pairwise(circle))
        pytest.fail(f"{' <- '.join(circle)}\n{sources}")


def test_rooms_of_hw_import_what_the_table_says_and_no_others():
    found = arrows("hw")
    allowed = {(importer, source) for importer, sources in HW.items() for source in sources}
    beyond = found.keys() - allowed
    assert not beyond, f"not in the table:\n{listed(found[pair] for pair in sorted(beyond))}"
    unused = sorted(allowed - found.keys())
    assert not unused, "in the table, but not imported"
    assert HW.keys() == rooms("hw")


def test_rooms_of_tb_import_downward_only():
    level = {name: number for number, names in enumerate(TB) for name in names}
    assert level.keys() == rooms("tb")
    upward = [sources for (importer, source), sources in arrows("tb").items() if level[source] >= level[importer]]
    assert not upward, listed(upward)


def test_each_room_of_hw_has_a_golden_room_or_file_of_its_name():
    names = {path.relative_to(ROOT / "golden").with_suffix("").as_posix() for path in files("golden")}
    assert rooms("hw") - rooms("golden") - names == HW_ALONE.keys()


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_of_the_picture_has_a_golden_file(block):
    assert (ROOT / "golden" / f"{BLOCKS[block]}.py").is_file()


@pytest.mark.parametrize("part", PARTS[:-1])
def test_no_room_holds_more_files_than_one_looks_through(part):
    folders = {path.parent for path in files(part)}
    count = {
        folder.relative_to(ROOT).as_posix(): sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for folder in folders
    }
    assert max(count.values()) > 0
    assert not {name: number for name, number in count.items() if number > FILES_MAX}


@pytest.mark.parametrize("part", PARTS[:-1])
def test_folders_of_tests_are_named_as_the_rooms_they_test(part):
    mirrored = {path.parent.relative_to(ROOT / "tests") for path in files(f"tests/{part}")}
    assert not [folder.as_posix() for folder in sorted(mirrored) if not (ROOT / folder).is_dir()]
