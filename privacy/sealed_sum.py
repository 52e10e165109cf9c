"""The sealed sum: what holders, broker and buyer call, in the order of docs/protocol.md §4 and §5.

Holder: `HolderSecrets.generate`, `make_bundle`, `open_bundles`, `commit`, `mask_input`, `release`.
Broker: `require_bundle`, `require_masked_input`, `require_unmask`, `aggregate`, `answer_root`.
Buyer: `BuyerKey.generate`, `buyer_pad`, `remove_pads`, `verify_opening`.
"""

from privacy.curve import commit, verify_opening
from privacy.payloads import ShareType, Unmask, UnmaskShare
from privacy.sealed_sum_answer import (
    CHUNK_CELLS,
    BuyerKey,
    answer_chunk,
    answer_root,
    apply_pads,
    buyer_pad,
    cell_count,
    chunk_count,
    chunk_path,
    compressed_key,
    remove_pads,
    verify_chunk,
)
from privacy.sealed_sum_broker import (
    Aggregate,
    Rejected,
    aggregate,
    require_bundle,
    require_masked_input,
    require_unmask,
)
from privacy.sealed_sum_holder import (
    commitment_hash,
    holder_pad,
    make_bundle,
    mask_input,
    open_bundles,
    release,
    unmask_payload,
)
from privacy.sealed_sum_secrets import HolderSecrets, Rand, ReceivedShares, ShareRow, seed_hash

__all__ = [
    "CHUNK_CELLS",
    "Aggregate",
    "BuyerKey",
    "HolderSecrets",
    "Rand",
    "ReceivedShares",
    "Rejected",
    "ShareRow",
    "ShareType",
    "Unmask",
    "UnmaskShare",
    "aggregate",
    "answer_chunk",
    "answer_root",
    "apply_pads",
    "buyer_pad",
    "cell_count",
    "chunk_count",
    "chunk_path",
    "commit",
    "commitment_hash",
    "compressed_key",
    "holder_pad",
    "make_bundle",
    "mask_input",
    "open_bundles",
    "release",
    "remove_pads",
    "require_bundle",
    "require_masked_input",
    "require_unmask",
    "seed_hash",
    "unmask_payload",
    "verify_chunk",
    "verify_opening",
]
