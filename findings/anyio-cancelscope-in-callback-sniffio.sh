#!/usr/bin/env bash
# anyio 4.16.0 (CPython 3.11): whether a CancelScope can be made in a callback of asyncio's loop depends on whether sniffio
# is installed.
#
# A callback of the loop (call_soon, a protocol's data_received) runs in no task. sniffio 1.3.1 knows asyncio by its current
# task, so that anyio, which asks sniffio where it is installed, finds no event loop there: anyio.CancelScope() raises
# NoEventLoopError. Without sniffio, which anyio no longer depends on, the same line works, and under anyio.run it always
# does. So a program breaks when some other package brings sniffio along. One would expect a running loop to be found.
#
# Seen:
#     with sniffio: asyncio.run: NoEventLoopError, anyio.run: works
#     without sniffio: asyncio.run: works, anyio.run: works
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install -q anyio==4.16.0 sniffio==1.3.1 idna==3.20 typing_extensions==4.16.0
cat >ask.py <<'PYTHON'
import asyncio

import anyio


async def main():
    loop = asyncio.get_running_loop()
    said = loop.create_future()

    def callback():
        try:
            anyio.CancelScope()
        except anyio.NoEventLoopError as error:
            said.set_result(type(error).__name__)
        else:
            said.set_result("works")

    loop.call_soon(callback)
    return await said


print(f"asyncio.run: {asyncio.run(main())}, anyio.run: {anyio.run(main)}")
PYTHON
with=$(venv/bin/python ask.py)
venv/bin/pip uninstall -qy sniffio
without=$(venv/bin/python ask.py)
echo "with sniffio: $with"
echo "without sniffio: $without"
[ "$with" = "asyncio.run: NoEventLoopError, anyio.run: works" ] && [ "$without" = "asyncio.run: works, anyio.run: works" ]
