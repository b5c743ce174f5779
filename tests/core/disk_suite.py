"""What every Disk does: a test class inherits DiskSuite, and has a fixture `disk`: a new, empty one."""

from __future__ import annotations

import pytest

from recipes.core.disk.disk import Disk


def files(disk: Disk) -> list[str]:
    return [name for name in disk.names() if not name.startswith(".")]


class DiskSuite:
    def test_a_new_disk_is_empty(self, disk: Disk):
        assert files(disk) == []

    def test_what_was_written_is_read(self, disk: Disk):
        file = disk.create("a")
        file.write(0, b"hello")
        file.write(3, b"p!!")
        assert disk.read("a") == b"help!!"
        file.sync()
        file.close()
        disk.sync()
        assert disk.read("a") == b"help!!"

    def test_a_write_behind_the_end_leaves_zeros(self, disk: Disk):
        file = disk.create("a")
        file.write(4, b"x")
        file.close()
        assert disk.read("a") == b"\0\0\0\0x"

    def test_create_empties_and_open_does_not(self, disk: Disk):
        file = disk.create("a")
        file.write(0, b"one")
        file.close()
        file = disk.open("a")
        file.write(3, b"two")
        file.close()
        assert disk.read("a") == b"onetwo"
        disk.create("a").close()
        assert disk.read("a") == b""

    @pytest.mark.parametrize(("size", "left"), [(2, b"he"), (7, b"hello\0\0")])
    def test_truncate_sets_the_size(self, disk: Disk, size: int, left: bytes):
        file = disk.create("a")
        file.write(0, b"hello")
        file.truncate(size)
        file.close()
        assert disk.read("a") == left

    def test_rename_replaces(self, disk: Disk):
        for name in ("b", "a"):
            file = disk.create(name)
            file.write(0, name.encode())
            file.close()
        disk.rename("a", "b")
        assert files(disk) == ["b"]
        assert disk.read("b") == b"a"

    def test_names_are_sorted_and_remove_removes(self, disk: Disk):
        for name in ("c", "a", "b"):
            disk.create(name).close()
        assert files(disk) == ["a", "b", "c"]
        disk.remove("b")
        assert files(disk) == ["a", "c"]

    def test_a_missing_file_is_an_error(self, disk: Disk):
        for what in (disk.read, disk.open, disk.remove, lambda name: disk.rename(name, "b")):
            with pytest.raises(FileNotFoundError):
                what("missing")
