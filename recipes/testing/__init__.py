"""For tests of programs that use recipes: an ensemble in this process, with faults on demand.

Installed with the package are the pytest fixtures `recipes_server` and `recipes_ensemble`; see `fixtures`.
"""

from recipes.testing.ensemble import Ensemble
from recipes.testing.expire import expire_session

__all__ = ["Ensemble", "expire_session"]
