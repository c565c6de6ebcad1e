"""Digests of blocks."""

from functools import reduce
from operator import xor

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.digest import (
    BlockDigest,
    DigestFold,
    block_first,
    block_last,
    block_of,
    digest_of,
    merge,
    same_content,
    total_to_hex,
)

HASHES = st.integers(-(2**63), 2**63 - 1)
ROWS = st.dictionaries(st.integers(1, 256), HASHES, max_size=40)


@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: dict[int, int], order: object) -> None:
    pairs = list(rows.items())
    shuffled = list(pairs)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert digest_of(0, pairs) == digest_of(0, shuffled)


@given(rows=ROWS, cut=st.integers(0, 40))
def test_parts_add_up_to_the_whole(rows: dict[int, int], cut: int) -> None:
    pairs = list(rows.items())
    whole = digest_of(3, pairs)
    assert merge(digest_of(3, pairs[:cut]), digest_of(3, pairs[cut:])) == whole
    assert merge(digest_of(3, pairs[cut:]), digest_of(3, pairs[:cut])) == whole


@given(rows=ROWS.filter(bool), extra=HASHES, data=st.data())
def test_any_single_change_is_seen(rows: dict[int, int], extra: int, data: st.DataObject) -> None:
    whole = digest_of(0, rows.items())
    sequence = data.draw(st.sampled_from(sorted(rows)))
    without = {key: value for key, value in rows.items() if key != sequence}
    assert not same_content(whole, digest_of(0, without.items()))
    if extra != rows[sequence]:
        assert not same_content(whole, digest_of(0, {**rows, sequence: extra}.items()))
    moved = {**without, 257: rows[sequence]}
    assert not same_content(whole, digest_of(0, moved.items()))


@given(rows=ROWS.filter(lambda rows: len(rows) > 2), change=st.integers(1, 2**64 - 1))
def test_equal_changes_of_a_pair_do_not_cancel(rows: dict[int, int], change: int) -> None:
    """Under XOR the same bits flipped in two rows cancel: that is why hashes are added."""
    first, second, *_ = sorted(rows)
    altered = dict(rows)
    for sequence in (first, second):
        altered[sequence] = _signed((rows[sequence] & (2**64 - 1)) ^ change)
    assert reduce(xor, altered.values()) == reduce(xor, rows.values())
    same_sum = (sum(altered.values()) - sum(rows.values())) % 2**64 == 0
    assert same_content(digest_of(0, rows.items()), digest_of(0, altered.items())) is same_sum


def test_a_pair_that_xor_can_not_see() -> None:
    rows = {1: 11, 2: 22, 3: 33}
    altered = {1: 11 ^ 0b10, 2: 22 ^ 0b10, 3: 33}
    assert reduce(xor, rows.values()) == reduce(xor, altered.values())
    assert not same_content(digest_of(0, rows.items()), digest_of(0, altered.items()))


@given(value=HASHES)
def test_a_doubled_pair_counts(value: int) -> None:
    """A row held twice vanishes under XOR; here it counts and adds up."""
    twice = DigestFold(0)
    twice.add(1, value)
    twice.add(1, value)
    assert twice.digest().events == 2
    assert twice.digest().total == 2 * value % 2**64


@given(rows=ROWS)
def test_the_total_is_unsigned_and_fits_64_bits(rows: dict[int, int]) -> None:
    digest = digest_of(0, rows.items())
    assert 0 <= digest.total < 2**64
    assert digest.total == sum(rows.values()) % 2**64
    assert int(total_to_hex(digest.total), 16) == digest.total
    assert len(total_to_hex(digest.total)) == 16


def test_nothing_added_is_nothing_held() -> None:
    assert digest_of(7, []) == BlockDigest(7)
    assert merge(BlockDigest(7), digest_of(7, [(3, 5)])) == BlockDigest(7, 1, 3, 3, 5)


def test_what_needs_a_look_is_not_clean_but_has_the_same_content() -> None:
    plain = digest_of(0, [(1, 2)])
    assert plain.is_clean
    for name in ("stale", "repeated", "disordered"):
        marked = plain._replace(**{name: 1})
        assert not marked.is_clean
        assert same_content(plain, marked)
        assert merge(marked, marked)._asdict()[name] == 2


@given(sequence=st.integers(1, 10**12), size=st.integers(1, 100_000))
def test_a_sequence_lies_in_its_block(sequence: int, size: int) -> None:
    block = block_of(sequence, size)
    assert block_first(block, size) <= sequence <= block_last(block, size)
    assert block_last(block, size) - block_first(block, size) + 1 == size
    assert block_first(block + 1, size) == block_last(block, size) + 1
    assert block_of(1, size) == 0


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
