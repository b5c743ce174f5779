"""Threads take turns at a lock, without an event loop: for scripts, Django, Celery. Ctrl-C gives up waiting.

Runs as it is, on the store that all processes of this user share. With RECIPES_HOSTS it uses that server.
"""

import threading

from recipes.blocking import Client, Lock, connect


def work(client: Client, name: str) -> None:
    with Lock(client, "/examples/blocking-lock") as grant:
        for step in range(3):
            if grant.ended.is_set():  # a long body checks this now and then
                return
            print(f"{name} does step {step} with fence {grant.fence}")


def main() -> None:
    with connect() as client:
        threads = [threading.Thread(target=work, args=(client, f"thread-{number}")) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Lock(client, "/examples/blocking-lock").try_acquire(within=5) as grant:
            print("nobody else is here" if grant is not None else "somebody else has it")


main()
