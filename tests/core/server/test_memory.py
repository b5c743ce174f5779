"""What a process may use: the least limit of machine, control groups and process counts."""

import resource

import pytest

from recipes.core.config import parse_zoo_cfg
from recipes.core.server.memory import available_bytes, default_limit_bytes
from recipes.core.server.settings import member_config

MB = 1 << 20


def put(folder, path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


@pytest.mark.parametrize(
    ("lines", "files", "expected_mb"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{64 * MB}\n"}, 64),
        ("0::/a/b\n", {"a/b/memory.max": f"{32 * MB}\n", "a/memory.max": f"{64 * MB}\n"}, 32),
        ("0::/not/here\n", {"memory.max": f"{48 * MB}\n"}, 48),
        ("5:cpu:/x\n4:memory:/c\n", {"memory/c/memory.limit_in_bytes": f"{16 * MB}\n"}, 16),
    ],
)
def test_the_least_limit_of_the_control_groups_counts(tmp_path, lines, files, expected_mb):
    (tmp_path / "cgroup").write_text(lines)
    for path, text in files.items():
        put(tmp_path / "groups", path, text)
    assert available_bytes(tmp_path / "cgroup", tmp_path / "groups") == expected_mb * MB


def test_without_control_groups_the_machine_and_the_process_count(tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    assert available_bytes(nowhere, nowhere) > 64 * MB
    limits = {resource.RLIMIT_AS: (600 * MB, -1), resource.RLIMIT_DATA: (-1, -1)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    assert available_bytes(nowhere, nowhere) <= 600 * MB
    assert default_limit_bytes() <= 300 * MB


@pytest.mark.parametrize(
    ("line", "limit_bytes"),
    [("", default_limit_bytes()), ("storeMemoryLimitInMb=0", 0), ("storeMemoryLimitInMb=300", 300 * MB)],
)
def test_f16_the_limit_is_half_of_it_unless_zoo_cfg_says_otherwise(tmp_path, line, limit_bytes):
    config, warnings = parse_zoo_cfg(f"dataDir={tmp_path}\nclientPort=1\n{line}\n", "zoo.cfg")
    assert member_config(config).store_limit_bytes == limit_bytes
    assert warnings == []
