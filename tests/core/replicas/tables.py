"""The tables of stages, as the page of their protocol shows them."""

from pathlib import Path

from recipes.core.replicas.wire import Dialect

DOCS = Path(__file__).parents[3] / "docs"


class Table:
    """One machine. methods: the class that has those that the table names."""

    def __init__(self, dialect: Dialect, methods: type, messages, moves) -> None:
        self.dialect, self.methods, self.messages, self.moves = dialect, methods, messages, moves

    def rows(self):
        """(stage, what comes, method, stages it may lead to)."""
        for stage, row in self.messages.items():
            for kind, step in row.items():
                yield stage, self.dialect.name_of(kind), step.method, step.then
            if stage in self.moves:
                what, then = self.moves[stage]
                yield stage, what, "", (then,)

    def drawn(self) -> str:
        """What the page shows of it."""
        arrows, taken = {}, {stage: [] for stage in self.messages}
        for stage, what, method, then in self.rows():
            for after in then:
                if after is not stage:
                    arrows.setdefault((stage.name, after.name), []).append(what)
            step = what + (f": `{method}`" if method else "")
            taken[stage].append(step + (f" → {' or '.join(after.name for after in then)}" if then else ""))
        lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(self.messages)).name}"]
        lines += [f"    {before} --> {after} : {', '.join(whats)}" for (before, after), whats in arrows.items()]
        lines += ["```", "", "| stage | in which it | takes |", "|---|---|---|"]
        lines += [f"| {stage.name} | {stage.value} | {'<br>'.join(taken[stage]) or 'nothing'} |" for stage in taken]
        return "\n".join(lines)

    def check_whole(self) -> None:
        """Every step is a method, and every stage is reached."""
        steps = [step for row in self.messages.values() for step in row.values()]
        assert all(callable(getattr(self.methods, step.method)) for step in steps)
        reached = {next(iter(self.messages))}
        while more := {each for stage, _, _, then in self.rows() if stage in reached for each in then} - reached:
            reached |= more
        assert reached == set(self.messages)

    def check_page(self, page: str, name: str) -> None:
        """Copy what this prints into the page when a table has changed."""
        shown = (DOCS / page).read_text().partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0]
        assert shown == self.drawn(), self.drawn()
