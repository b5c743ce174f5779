import pytest

from recipes.core.errors import DiskError
from recipes.core.primary_backup.fences import (
    FIRST_VALUES,
    SET,
    next_start,
    owner_of,
    promoted,
    set_cell,
    settle_fences,
    stored_set,
)
from recipes.core.replicas.terms import TERM


def test_a_promotion_is_newer_than_all_starts_of_the_old_primary():
    fence = next_start(0, 1)
    fenced = promoted(fence, 3)
    assert owner_of(fence) == 1 and owner_of(fenced) == 3
    for _ in range(1000):
        fence = next_start(fence, 1)
    assert fence < fenced < next_start(fenced, 3) < promoted(fenced, 2)
    assert owner_of(next_start(fenced, 3)) == 3
    assert next_start(fenced, 3) << 32 < 1 << 63


def test_what_an_operator_has_decided_comes_back():
    assert stored_set({}, (2, 3)) == (False, (2, 3))
    assert stored_set({SET: set_cell(True, (3,)).value}, (1, 3)) == (True, (3,))
    assert stored_set({SET: set_cell(False, ()).value}, (1, 3)) == (False, ())


def test_cells_are_settled():
    assert settle_fences({}, {}, 0) == {name: values[0] for name, values in FIRST_VALUES.items()}
    stored = {TERM: b"257", SET: b"0 3"}
    assert settle_fences(stored, {}, 257 << 32 | 4) == stored
    with pytest.raises(DiskError, match="acceptedEpoch is 257"):
        settle_fences(stored, {}, 513 << 32 | 4)
    with pytest.raises(DiskError, match="copiesSet: expected 0 or 1 and a list of servers, found 'both'"):
        settle_fences({SET: b"both"}, {}, 0)
