"""What a participant in memory does instead of what it is asked."""


def doing(wanted, deed):
    """A fault: `await deed()` where `wanted` is requested; its result is the answer unless it is None."""

    async def fault(request, branch):
        if request is wanted:
            return await deed()
        return None

    return fault
