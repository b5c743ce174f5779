"""Three shops number their orders, count them, and stop at a limit that is changed while they sell.

Runs as it is. With RECIPES_HOSTS it uses that server, and then the shops may be on different machines.
"""

import anyio

from recipes import AtomicValue, Counter, IdGenerator, SharedValue, connect

ROOT = "/examples/counters"


async def sell(name: str) -> None:
    async with connect() as client, SharedValue[int](client, f"{ROOT}/limit") as limit:
        orders = IdGenerator(client, f"{ROOT}/orders", block=10)
        sold = Counter(client, f"{ROOT}/sold")
        while await sold.get() < (limit.value or 0):
            before, after = await sold.update(lambda number: min(number + 1, limit.value or 0))
            if after == before:
                break  # another shop was quicker
            print(f"{name} sells order {await orders.next()}, number {after}")
            await anyio.sleep(0.01)


async def main() -> None:
    async with connect() as client:
        limit = AtomicValue[int](client, f"{ROOT}/limit")
        await limit.set(await Counter(client, f"{ROOT}/sold").get() + 3)
        await limit.update(lambda number: (number or 0) + 3)
        async with anyio.create_task_group() as tasks:
            for name in ("north", "south", "west"):
                tasks.start_soon(sell, name)


anyio.run(main)
