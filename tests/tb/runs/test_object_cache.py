"""The compiler launcher: Verilator's own sources are compiled once, all others each time."""

import pytest

from kv_endpoint.tb.runs.object_cache import main


@pytest.fixture
def compiling(tmp_path):
    """A compiler that counts its calls and copies its source, and a run-time library of one source."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "verilated.cpp").write_text("library")
    (tmp_path / "include" / "verilated.h").write_text("header")
    (tmp_path / "design.cpp").write_text("design")
    compiler = tmp_path / "compiler"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec echo 1.0\n'
        f'echo called >> {tmp_path}/calls\nwhile [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done\n'
        'cp "$1" "$out"\n'
    )
    compiler.chmod(0o700)

    def compile_(source, *options):
        target = tmp_path / "out.o"
        target.unlink(missing_ok=True)
        command = [str(compiler), *options, "-c", "-o", str(target), str(tmp_path / source)]
        code = main([str(tmp_path / "objects"), *command], {"VERILATOR_ROOT": str(tmp_path)})
        calls = tmp_path / "calls"
        return code, target.read_text() if target.exists() else None, calls.read_text().count("called")

    compile_.folder = tmp_path
    return compile_


def test_the_library_is_compiled_once_for_the_same_arguments(compiling):
    assert compiling("include/verilated.cpp") == (0, "library", 1)
    assert compiling("include/verilated.cpp") == (0, "library", 1)
    assert compiling("include/verilated.cpp", "-O2") == (0, "library", 2)


@pytest.mark.parametrize("name", ["verilated.cpp", "verilated.h"])
def test_another_library_is_compiled_anew(name, compiling):
    compiling("include/verilated.cpp")
    (compiling.folder / "include" / name).write_text("another")
    assert compiling("include/verilated.cpp")[2] == 2


def test_a_design_is_compiled_each_time(compiling):
    assert compiling("design.cpp") == (0, "design", 1)
    assert compiling("design.cpp") == (0, "design", 2)


def test_an_error_of_the_compiler_is_passed_on_and_not_kept(compiling):
    (compiling.folder / "compiler").write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo 1.0\nexit 3\n')
    (compiling.folder / "calls").touch()
    assert compiling("include/verilated.cpp") == (3, None, 0)
    assert not (compiling.folder / "objects").exists()
