"""/metrics is what Prometheus' own parser takes."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recipes.core.config import ServerConfig
from recipes.core.member.admin import monitor
from recipes.core.server.server import Server


@pytest.mark.asyncio
async def test_every_figure_of_mntr_is_a_metric_for_prometheus(tmp_path):
    config = ServerConfig(data_dir=tmp_path, client_port=0, admin_enabled=True, admin_port=0, pre_alloc_size_kb=64)
    async with Server(config) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.admin_port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        figures = {key for key, value in monitor(server.member).items() if not isinstance(value, str)}
    assert b"text/plain; version=0.0.4" in head
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert set(families) == figures
    assert all(len(family.samples) == 1 for family in families.values())
    assert families["packets_received"].type == "counter"
    assert families["znode_count"].type == "gauge"
    assert families["znode_count"].samples[0].value > 0
