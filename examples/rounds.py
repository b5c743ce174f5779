"""Three workers compute in steps: nobody begins a step before all have finished the previous one.

Runs as it is. With RECIPES_HOSTS it uses that server, and then the workers may be on different machines.
"""

import anyio

from recipes import DoubleBarrier, connect


async def work(name: str) -> None:
    async with connect() as client:
        barrier = DoubleBarrier(client, "/examples/rounds", parties=3, name=name)
        for step in range(2):
            async with barrier as entered:
                print(f"{name} computes step {step} in round {entered.number}")


async def main() -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(work, f"worker-{number}")


anyio.run(main)
