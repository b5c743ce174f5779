"""Which processes are inside a block of the workload's recipe, by the step that entered it."""


class Insiders:
    """A workload whose `inside` has an entry, by (process, number of the step), for each block that was entered."""

    def holder(self, process=None):
        """A process that is inside, this one if it is; None when there is none."""
        return next((each for each, _ in self.inside if process in (None, each)), None)

    def life_ended(self, process):
        """It has died, or its program is done."""
        for key in [key for key in self.inside if key[0] is process]:
            del self.inside[key]
            self.world.count("died inside")
