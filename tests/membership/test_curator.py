"""Curator's service discovery, the real one, and ours see each other's instances."""

import subprocess
from pathlib import Path

import anyio
import pytest

from recipes import ServiceRegistry, connect

JARS = Path("/usr/share/java")
JAVA = Path(__file__).parent / "java" / "DiscoveryNeighbour.java"

pytestmark = [pytest.mark.thorough, pytest.mark.needs("javac")]  # a compiler and a virtual machine


@pytest.fixture
def curator(need_tool, tmp_path, hosts, root):
    """A function that sends Curator a line and gives its answer."""
    need_tool("Debian package libcurator-discovery-java", (JARS / "curator-x-discovery.jar").exists())
    subprocess.run(["javac", "-cp", f"{JARS}/*", "-d", tmp_path, JAVA], check=True, capture_output=True)
    classes = f"{tmp_path}:{JARS}/slf4j-nop.jar:{JARS}/*"
    process = subprocess.Popen(
        ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes, "DiscoveryNeighbour", hosts, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def ask(line):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return process.stdout.readline().rstrip("\n")

    with process:
        assert process.stdout.readline() == "ready\n"
        yield ask
        process.stdin.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_each_sees_the_instances_of_the_other(curator, hosts, root):
    async with connect(hosts) as client:
        registry = ServiceRegistry(client, root)
        async with registry.register("web", "10.0.0.1", 80, ssl_port=443, payload="ours", id="of-ours"):
            assert await anyio.to_thread.run_sync(curator, "register web of-curator 10.0.0.2 81 theirs") == "done"
            found = {each.id: each for each in await registry.instances("web")}
            theirs = found["of-curator"]
            assert (theirs.address, theirs.port, theirs.ssl_port, theirs.payload) == ("10.0.0.2", 81, None, "theirs")
            assert found.keys() == {"of-ours", "of-curator"}
            seen = "of-curator=10.0.0.2:81/null/theirs of-ours=10.0.0.1:80/443/ours"
            assert await anyio.to_thread.run_sync(curator, "list web") == seen
        seen = "of-curator=10.0.0.2:81/null/theirs"
        assert await anyio.to_thread.run_sync(curator, "list web") == seen
