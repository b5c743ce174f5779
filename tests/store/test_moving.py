"""`recipes move`: the data of a store becomes a server's, and those that look for the store are told where it went."""

import anyio
import pytest

from recipes import ConnectionLoss, DiskError, ServerConfig, SessionExpired, connect
from recipes.core.config import parse_zoo_cfg
from recipes.core.server.server import Server
from recipes.store.moving import count_clients, move, stop
from recipes.store.start import is_served


async def fill() -> None:
    async with connect() as client:
        await client.create("/before", b"the move")


@pytest.mark.asyncio
async def test_a_server_serves_what_the_store_had(store, tmp_path):
    await fill()
    zoo_cfg = move(store, tmp_path / "server", "127.0.0.1", 21810, [])
    config, warnings = parse_zoo_cfg(zoo_cfg.read_text(), str(zoo_cfg))
    assert warnings == []
    assert (config.client_address, config.client_port) == ("127.0.0.1", 21810)
    async with Server(config.model_copy(update={"client_port": 0})) as server:
        async with connect(f"127.0.0.1:{server.client_port}") as client:
            assert (await client.get("/before"))[0] == b"the move"
    with pytest.raises(DiskError) as caught:
        await fill()
    assert str(caught.value) == (
        f"the store {store.directory} was moved: set RECIPES_HOSTS=127.0.0.1:21810, for `recipes serve {zoo_cfg}`; or "
        f"delete {store.directory} to begin anew"
    )


@pytest.mark.asyncio
async def test_it_becomes_a_member_of_an_ensemble(store, tmp_path):
    await fill()
    zoo_cfg = move(store, tmp_path / "server", "0.0.0.0", 2181, ["one", "two", "three"])
    config, _ = parse_zoo_cfg(zoo_cfg.read_text(), str(zoo_cfg))
    assert isinstance(config, ServerConfig)
    assert config.server_id == 1
    assert sorted(config.membership.servers) == [1, 2, 3]
    assert "RECIPES_HOSTS=one:2181,two:2181,three:2181" in store.moved_to()


@pytest.mark.anyio
async def test_clients_are_counted_and_a_stop_is_clean(store):
    assert count_clients(store) == 0
    async with connect() as client:
        assert count_clients(store) == 1
        async with connect():
            assert count_clients(store) == 2
        await client.create("/acknowledged")
        await anyio.to_thread.run_sync(stop, store)
        assert await client.exists("/acknowledged") is not None  # it has started the store again
    with pytest.raises(DiskError, match="there is no store in"):
        move(store.__class__(store.directory / "none"), store.directory / "x", "127.0.0.1", 2181, [])


@pytest.mark.anyio
async def test_clients_of_a_moved_store_hear_where_it_went(store, tmp_path):
    await fill()  # starting the store may take longer than a short session has
    async with connect(session_timeout=2) as client:
        await anyio.to_thread.run_sync(move, store, tmp_path / "server", "127.0.0.1", 21810, [])
        with pytest.raises(SessionExpired, match=r"RECIPES_HOSTS=127\.0\.0\.1:21810"), anyio.fail_after(30):
            while True:
                try:
                    await client.sync("/")
                except ConnectionLoss:
                    continue


def test_a_target_with_data_is_refused_and_the_store_goes_on(store, tmp_path):
    anyio.run(fill)
    (tmp_path / "server" / "version-2").mkdir(parents=True)
    for target in (tmp_path / "server", store.directory):
        with pytest.raises(DiskError, match="has data of its own"):
            move(store, target, "127.0.0.1", 2181, [])
    assert is_served(store)
    assert store.moved_to() is None


def test_a_move_to_another_disk_copies(store, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    anyio.run(fill)
    rename = Path.rename

    def other_disk(old: Path, new: Path) -> Path:
        if old == store.directory / "version-2":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(old, new)

    monkeypatch.setattr(Path, "rename", other_disk)
    move(store, tmp_path / "server", "127.0.0.1", 2181, [])
    assert list((tmp_path / "server" / "version-2").glob("log.*"))
    assert not (store.directory / "version-2").exists()
