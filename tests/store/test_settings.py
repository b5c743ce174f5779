"""The settings of a store's server are what ServerConfig would make of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from recipes import ServerConfig
from recipes.store.settings import store_settings

DIRECTORY = Path("/a/store")
# Never looked at by a server alone without TLS and without HTTP.
UNUSED = (
    "ssl",
    "most_",
    "admin_",
    "metrics_",
    "port_",
    "peer_type",
    "standalone_",
    "init_",
    "sync_",
    "election_",
    "quorum_",
)


@pytest.mark.parametrize("name", [*ServerConfig.model_fields, "session_timeouts_ms"])
def test_a_setting_is_what_the_config_has(name):
    written_out = store_settings(DIRECTORY)
    if name.startswith(UNUSED) and not hasattr(written_out, name):
        return
    config = ServerConfig(
        data_dir=DIRECTORY,
        client_port=None,
        tick_time_ms=500,
        max_session_timeout_ms=60_000,
        pre_alloc_size_kb=1024,
        session_secret_file=DIRECTORY / "secret",
        purge_interval_hours=1,
    )
    assert getattr(written_out, name) == getattr(config, name)


def test_its_process_does_not_load_what_takes_long():
    text = (
        "import sys; import recipes.core.server.server, recipes.store.settings, recipes.store.directory; "
        "print(sorted({'pydantic', 'tenacity', 'anyio', 'uvloop'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
