"""The sealed sum beside Flower's SecAgg+ primitives: CPU of one holder and of the broker, and bytes sent."""

from __future__ import annotations

import hashlib
import secrets
import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import machine, run_peer
from benchmarks.report import Target, report
from benchmarks.timing import cpu_ms, cpu_ms_of
from privacy.encoding import tagged_hash
from privacy.messages import Kind, encode_frame
from privacy.prg import LANE_BYTES, MaskedVector
from privacy.sealed_sum import (
    BuyerKey,
    HolderSecrets,
    aggregate,
    answer_root,
    buyer_pad,
    make_bundle,
    mask_input,
    open_bundles,
    release,
    remove_pads,
)
from privacy.session import Member, Session

CELLS = 100_000
SIZES = (10, 100)
DROPPED_SHARE = 0.05
ROUNDS = 3
# at 100 holders one client of the peer takes seconds and its server minutes
PEER_FRACTIONS: dict[int, dict[str, int] | None] = {
    10: None,
    100: {"clients_run": 3, "secrets_run": 3, "pairs_run": 20},
}


def cells_of(index: int) -> NDArray[np.int64]:
    """Return one holder's signed cells, the same on every machine."""
    stream = hashlib.shake_256(b"shuyao/benchmark/sum" + index.to_bytes(2, "big")).digest(8 * CELLS)
    return np.frombuffer(stream, dtype="<i8") >> 12


@dataclass(slots=True)
class Round:
    """One sealed sum of n holders in this process, every step of a party on its own clock."""

    holders: int
    holder_ms: dict[int, float] = field(default_factory=dict)
    server_ms: float = 0.0
    root_ms: float = 0.0
    masked_bytes: int = 0
    frame_bytes: int = 0
    session: Session = field(init=False)

    @property
    def colluders(self) -> int:
        """The policy's default c."""
        return (self.holders - 1) // 3

    @property
    def dropped(self) -> range:
        """Who shares and then stays away: a twentieth, at least one."""
        return range(self.holders - max(1, round(DROPPED_SHARE * self.holders)), self.holders)

    def _clocked(self, index: int, work: Any) -> Any:
        spent, result = cpu_ms_of(work)
        self.holder_ms[index] = self.holder_ms.get(index, 0.0) + spent
        return result

    def run(self) -> None:
        """Run it and require the right sum."""
        buyer = BuyerKey.generate(secrets.token_bytes)
        owned = self._approve()
        everybody = range(self.holders)
        bundles = {i: self._clocked(i, lambda i=i: make_bundle(owned[i], self.session, i)) for i in everybody}
        received = {
            i: self._clocked(i, lambda i=i: open_bundles(owned[i], self.session, i, bundles))
            for i in everybody
        }
        alive = [i for i in everybody if i not in self.dropped]
        masked, unmasks = {}, {}
        for i in alive:
            cells = cells_of(i)
            masked[i] = self._clocked(
                i,
                lambda i=i, cells=cells: mask_input(
                    owned[i], self.session, i, sharers=everybody, buyer_key=buyer.compressed, cells=cells
                ),
            )
            unmasks[i] = self._clocked(
                i,
                lambda i=i: release(
                    received[i], self.session, i, sharers=everybody, survivors=alive
                ).payload(),
            )
        self._finish(
            buyer, alive, masked, unmasks, {i: owned[i].seed_hash(self.session, i) for i in everybody}
        )

    def _approve(self) -> list[HolderSecrets]:
        drawn, members = [], []
        for i in range(self.holders):

            def work() -> tuple[HolderSecrets, Any]:
                mine = HolderSecrets.generate(secrets.token_bytes)
                return mine, mine.public_keys()

            mine, keys = self._clocked(i, work)
            drawn.append(mine)
            address = (i + 1).to_bytes(20, "big")
            asset, line = tagged_hash("asset", address, 1), tagged_hash("line", address, 1)
            public = (keys.mask_key, keys.share_key, keys.e_x, keys.e_parity, keys.noise_commitment)
            members.append(Member(address, asset, 1, line, *public))
        self.session = Session.build(
            chain_id=31337,
            ledger=bytes(19) + b"\x01",
            request_id=bytes(32),
            plan_hash=bytes(32),
            members=members,
            colluders=self.colluders,
            dropouts=len(self.dropped),
            min_holders=1,
        )
        return drawn

    def _finish(
        self,
        buyer: BuyerKey,
        alive: list[int],
        masked: dict[int, bytes],
        unmasks: dict[int, bytes],
        seed_hashes: dict[int, bytes],
    ) -> None:
        first = next(iter(masked.values()))
        self.masked_bytes = len(first)
        self.frame_bytes = len(encode_frame(Kind.MASKED_INPUT, self.session.id, 0, first, bytes(65)))
        self.server_ms, total = cpu_ms_of(
            lambda: aggregate(
                self.session,
                cells=CELLS,
                sharers=range(self.holders),
                masked=masked,
                unmasks=unmasks,
                seed_hashes=seed_hashes,
            )
        )
        self.root_ms, _ = cpu_ms_of(lambda: answer_root(self.session.id, total.payload))
        pads = [
            buyer_pad(self.session.id, i, buyer.secret, self.session.members[i].e_compressed) for i in alive
        ]
        cells, _ = remove_pads(total.payload, pads)
        if not np.array_equal(cells, sum(cells_of(i) for i in alive)):
            raise AssertionError("the sum is wrong")

    def median_holder_ms(self) -> float:
        """Return the CPU of the holder in the middle, of those that went to the end."""
        return statistics.median(self.holder_ms[i] for i in range(self.holders) if i not in self.dropped)


def run() -> dict[str, Any]:
    """Measure both at each size."""
    env = machine(("numpy", "cryptography", "coincurve", "pynacl"))
    figures: dict[str, float] = {}
    targets: dict[str, Target] = {}
    _completed(SIZES[0])  # first calls
    for n in SIZES:
        rounds = sorted((_completed(n) for _ in range(ROUNDS)), key=lambda r: r.server_ms)
        ours = rounds[ROUNDS // 2]
        holder_ms = statistics.median(r.median_holder_ms() for r in rounds)
        peer = _peer(n, ours.session.params.threshold, len(ours.dropped))
        client_ms = statistics.median(sum(c.values()) for c in peer["clients"])
        peer_server_ms = sum(peer["server"].values())
        figures |= {
            f"holder_times_faster_n{n}": client_ms / holder_ms,
            f"server_times_faster_n{n}": peer_server_ms / ours.server_ms,
            f"holder_ms_n{n}": holder_ms,
            f"flwr_client_ms_n{n}": client_ms,
            f"server_ms_n{n}": ours.server_ms,
            f"flwr_server_ms_n{n}": peer_server_ms,
        }
        targets[f"holder_times_faster_n{n}"] = Target(at_least=20)
        targets[f"server_times_faster_n{n}"] = Target(at_least=100)
        env |= _peer_profile(n, peer) | {f"threshold n={n}": ours.session.params.threshold}
    figures |= {
        "bytes_per_cell": (ours.masked_bytes - LANE_BYTES) / CELLS,
        "upload_frame_bytes": ours.frame_bytes,
        "flwr_upload_bytes": peer["masked_bytes"],
        "buyer_pad_ms": _pad_ms(),
        "one_mask_ms": _mask_ms(),
        "answer_root_ms": ours.root_ms,
    }
    targets["bytes_per_cell"] = Target(at_most=8)
    return report("sealed-sum", figures, targets, env | _method())


def _completed(n: int) -> Round:
    done = Round(n)
    done.run()
    return done


def _peer(n: int, threshold: int, dropped: int) -> dict[str, Any]:
    arguments = {"holders": n, "threshold": threshold, "dropped": dropped, "cells": CELLS}
    return run_peer("flwr", "flwr_secagg.py", arguments | {"fraction": PEER_FRACTIONS[n], "rounds": ROUNDS})


def _peer_profile(n: int, peer: dict[str, Any]) -> dict[str, str]:
    """Say where the peer's time goes."""
    client = {
        step: statistics.median(c[step] for c in peer["clients"]) for step in next(iter(peer["clients"]))
    }
    sides = {f"flwr client ms n={n}": client, f"flwr server ms n={n}": peer["server"]}
    return {side: ", ".join(f"{k} {v:.1f}" for k, v in spent.items()) for side, spent in sides.items()}


def _pad_ms() -> float:
    vector = MaskedVector.zero(CELLS)
    return cpu_ms(lambda: vector.add_pad(bytes(32)), repeats=9)


def _mask_ms() -> float:
    vector = MaskedVector.zero(CELLS)
    return cpu_ms(lambda: vector.add_mask(bytes(32)), repeats=25)


def _method() -> dict[str, str]:
    part = PEER_FRACTIONS[SIZES[-1]] or {}
    return {
        "cells": f"{CELLS} of 64 bits (the peer: modulus 2^63, the widest its int64 vectors take)",
        "peer": "flwr 1.41.0: its secaggplus primitives in the order of its client mod and unmask stage",
        "same work": "complete graph, self mask, Shamir shares of two secrets with one threshold, sealed to "
        "peers; a twentieth (at least one) drops out after sharing; sum checked; both start from integers",
        "ours besides": "holder: the buyer's pad, ChaCha20; both: the Z_q lane; server: opened secrets checked",
        "not in the ratio": "the answer's Merkle root, answer_root_ms: the peer publishes none",
        "peer run": f"n={SIZES[0]} wholly, {ROUNDS} times; n={SIZES[-1]}: {part['clients_run']} clients "
        f"wholly, {part['secrets_run']} of the seeds, 1 of the keys, {part['pairs_run']} of the pair masks, "
        "scaled linearly; the sum of the vectors wholly",
        "in the peer's favour": "it opens secrets from the threshold of shares; its workflow takes all",
        "security level, ours": "256-bit seeds, AES-256-CTR; X25519 and secp256k1, 128 bits",
        "security level, flwr": "mask seeds folded to 32 bits, Mersenne Twister; P-384 keys, 192 bits",
        "time": f"CPU of the process, all threads; the median holder, the median server of {ROUNDS} rounds",
    }
