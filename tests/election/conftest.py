"""The store in memory of the lock's tests."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_spec = spec_from_file_location("memory_store", Path(__file__).parent.parent / "lock" / "conftest.py")
_module = module_from_spec(_spec)
_spec.loader.exec_module(_module)

store = _module.store
