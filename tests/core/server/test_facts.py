"""Figures of the files: asking for one does no harm."""

from recipes.core.config import ServerConfig
from recipes.core.server import facts
from recipes.core.server.facts import ServerFacts
from tests.descriptors import no_more_descriptors


def test_sizes_and_the_newest_snapshot_are_told(tmp_path):
    directory = tmp_path / "version-2"
    directory.mkdir()
    told = ServerFacts(ServerConfig(data_dir=tmp_path))
    assert told.last_snapshot() == (0, 0)
    for name, size in (("snapshot.0", 3), ("snapshot.10", 4), ("snapshot.9", 5), ("log.1", 6)):
        (directory / name).write_bytes(bytes(size))
    (directory / "other").mkdir()
    assert told.directories() == (18, 18)
    assert told.last_snapshot() == (16, int((directory / "snapshot.10").stat().st_mtime))


def test_a_file_that_is_purged_while_they_are_counted_counts_nothing(tmp_path, monkeypatch):
    directory = tmp_path / "version-2"
    directory.mkdir()
    (directory / "log.1").write_bytes(bytes(3))
    names = [*facts.os.listdir(directory), "snapshot.7"]
    monkeypatch.setattr(facts.os, "listdir", lambda _: names)
    told = ServerFacts(ServerConfig(data_dir=tmp_path))
    assert told.directories() == (3, 3)
    assert told.last_snapshot() == (0, 0)


def test_without_a_descriptor_there_is_a_figure_all_the_same(tmp_path):
    (tmp_path / "version-2").mkdir()
    (tmp_path / "version-2" / "snapshot.1").write_bytes(bytes(3))
    told = ServerFacts(ServerConfig(data_dir=tmp_path))
    with no_more_descriptors():
        assert told.directories() == (0, 0)
        assert told.last_snapshot() == (0, 0)
