"""The cache of simulations: where it lies, and that what lies in it is whole."""

import threading

import pytest

from kv_endpoint.tb.runs import cache
from tests.support.paths import ROOT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_a_checkout_keeps_it_in_its_own_build_folder():
    assert cache.cache_folder() == ROOT / "build" / "sim"


@pytest.mark.parametrize("named", [True, False])
def test_an_installed_package_keeps_it_in_the_users_cache(named, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ROOT", tmp_path / "site-packages" / "kv_endpoint")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if named:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / ("xdg" if named else ".cache") / "kv-endpoint"


def test_an_entry_is_made_once_and_found_again(folder):
    made = []

    def make(where):
        made.append(where)
        (where / "file").write_text("text")

    first = cache.entry("a", make)
    assert cache.entry("a", make) == first == folder / "a"
    assert (first / "file").read_text() == "text"
    assert len(made) == 1 and made[0] != first


def test_what_cannot_be_made_leaves_nothing_and_is_tried_again(folder):
    def fail(where):
        (where / "half").write_text("")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        cache.entry("a", fail)
    assert not [path for path in folder.iterdir() if path.is_dir()]
    assert cache.entry("a", lambda where: (where / "file").touch()) == folder / "a"


def test_of_two_that_want_the_same_one_waits_for_the_other(folder):
    started, go = threading.Event(), threading.Event()
    made = []

    def make(where):
        made.append(where)
        started.set()
        assert go.wait(10)
        assert not (folder / "a").exists()

    def want():
        cache.entry("a", make)

    threads = [threading.Thread(target=want) for _ in range(3)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1 and (folder / "a").is_dir()


def test_a_copy_of_the_checkout_gets_what_is_whole_as_links(folder, tmp_path):
    cache.entry("a", lambda where: (where / "file").write_text("text"))
    (folder / "b.x1y2").mkdir()
    (folder / "b.lock").touch()
    cache.link_builds(tmp_path / "copy")
    linked = tmp_path / "copy" / "build" / "sim"
    assert [path.name for path in linked.iterdir()] == ["a"]
    assert (linked / "a" / "file").samefile(folder / "a" / "file")


def test_without_a_cache_a_copy_starts_with_an_empty_one(folder, tmp_path):
    cache.link_builds(tmp_path / "copy")
    assert list((tmp_path / "copy" / "build" / "sim").iterdir()) == []
