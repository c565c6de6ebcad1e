"""Whether what the stores hold of a block is what they must hold."""

from collections.abc import Iterable, Mapping, Sequence

from crossfade.core.digest import BlockDigest, merge, same_content
from crossfade.core.reconciliation import STORES
from crossfade.core.reconciliation_plan import Block, JournalStream, expected_digest

__all__ = ["agreement"]


def agreement(
    block: Block,
    facts: JournalStream,
    held: Mapping[str, Sequence[BlockDigest]],
    names: Iterable[str],
) -> tuple[dict[str, BlockDigest], bool]:
    """The digests of a block added up per store, and whether they are as they must be.

    Args:
        held: what each store has of it, in parts; the journal's cut where a store's expectation
            begins or ends (``cut_ranges``).
        names: the stores that were asked; what Realtime delivered is added up, never judged.
    """
    whole: dict[str, BlockDigest] = {}
    for name in names:
        total = BlockDigest(block.number)
        for digest in held.get(name, ()):
            total = merge(total, digest)
        whole[name] = total
    parts = held.get("journal", ())
    journal = whole["journal"]
    agree = journal.events == block.last - block.first + 1 and journal.is_clean
    for name in STORES[1:]:
        if name not in whole:
            continue
        expected = expected_digest(block, parts, facts.owed[name])
        # A store may hold more than it is owed (history copied on top): all of it is fine.
        right = same_content(whole[name], expected) or same_content(whole[name], journal)
        agree = agree and right and whole[name].is_clean
    return whole, agree
