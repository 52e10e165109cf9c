"""Flower's SecAgg+ on its own primitives: what one client and the server spend on one round.

Runs in the peer's environment. The steps and their order are those of `flwr.client.mod.secaggplus_mod` and of
`unmask_stage` in `flwr.server.workflow`; each line of work calls the function that they call. Gets and prints
one JSON object.
"""

import json
import os
import sys
import time
from dataclasses import dataclass, field

import numpy as np
from flwr.common import bytes_to_ndarray, ndarray_to_bytes
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt, generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.secaggplus_utils import (
    pseudo_rand_gen,
    share_keys_plaintext_concat,
    share_keys_plaintext_separate,
)
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)

MODULUS = 1 << 63  # the widest that its int64 vectors and `num_range - 1` take


class Clock:
    """CPU milliseconds of the process by name of the step."""

    def __init__(self):
        self.spent = {}

    def run(self, name, work):
        """Run `work()` on this clock and return what it returns."""
        begin = time.process_time()
        result = work()
        self.spent[name] = self.spent.get(name, 0.0) + (time.process_time() - begin) * 1e3
        return result


@dataclass
class Client:
    """One client's state, as `SecAggPlusState` has it."""

    nid: int
    threshold: int
    clock: Clock = field(default_factory=Clock)

    def setup(self):
        """Stage 0: two key pairs."""

        def work():
            (sk1, pk1), (sk2, pk2) = generate_key_pairs(), generate_key_pairs()
            self.sk1, self.pk1 = private_key_to_bytes(sk1), public_key_to_bytes(pk1)
            self.sk2, self.pk2 = private_key_to_bytes(sk2), public_key_to_bytes(pk2)

        self.clock.run("keys", work)

    def share_keys(self, public):
        """Stage 1: shares of the mask seed and of the first key, sealed to each neighbour."""
        self.public = public
        self.rd_seed = os.urandom(32)
        count = len(public)
        seeds = self.clock.run("shamir", lambda: create_shares(self.rd_seed, self.threshold, count))
        keys = self.clock.run("shamir", lambda: create_shares(self.sk1, self.threshold, count))
        self.ss2, self.seed_shares, self.key_shares, sealed = {}, {}, {}, {}
        for position, (nid, (_, pk2)) in enumerate(public.items()):
            if nid == self.nid:
                self.seed_shares[nid], self.key_shares[nid] = seeds[position], keys[position]
                continue
            self.ss2[nid] = self.clock.run(
                "agreement",
                lambda pk2=pk2: generate_shared_key(bytes_to_private_key(self.sk2), bytes_to_public_key(pk2)),
            )
            text = share_keys_plaintext_concat(self.nid, nid, seeds[position], keys[position])
            sealed[nid] = self.clock.run("sealing", lambda n=nid, t=text: encrypt(self.ss2[n], t))
        return sealed

    def open_shares(self, sealed):
        """Stage 2, first half: the shares from the neighbours."""

        def work():
            for source, text in sealed.items():
                plain = decrypt(self.ss2[source], text)
                actual, target, seed_share, key_share = share_keys_plaintext_separate(plain)
                if (actual, target) != (source, self.nid):
                    raise ValueError("a share of another pair")
                self.seed_shares[source], self.key_shares[source] = seed_share, key_share

        self.clock.run("sealing", work)

    def mask(self, vector):
        """Stage 2, second half: self mask, pair masks over all neighbours, reduction, serialisation."""
        shape = [vector.shape]

        def self_mask():
            return parameters_addition([vector], pseudo_rand_gen(self.rd_seed, MODULUS, shape))

        total = self.clock.run("masks", self_mask)
        for nid, (pk1, _) in self.public.items():
            if nid == self.nid:
                continue
            key = self.clock.run(
                "agreement",
                lambda pk1=pk1: generate_shared_key(bytes_to_private_key(self.sk1), bytes_to_public_key(pk1)),
            )
            change = parameters_addition if self.nid > nid else parameters_subtraction
            total = self.clock.run(
                "masks", lambda c=change, t=total, k=key: c(t, pseudo_rand_gen(k, MODULUS, shape))
            )
        return self.clock.run("masks", lambda: ndarray_to_bytes(parameters_mod(total, MODULUS)[0]))


def simulate_incoming(client):
    """Seal, off the clock, what the neighbours would send: bytes of the right pair and length."""
    return {
        nid: encrypt(
            key,
            share_keys_plaintext_concat(
                nid, client.nid, client.seed_shares[client.nid], client.key_shares[client.nid]
            ),
        )
        for nid, key in client.ss2.items()
    }


class Server:
    """The server's work: the sum, the secrets from their shares, the masks off."""

    def __init__(self, public, threshold):
        self.public, self.threshold, self.clock = public, threshold, Clock()

    def add(self, messages):
        """Sum the masked vectors as they come."""

        def work():
            total = None
            for message in messages:
                vector = [bytes_to_ndarray(message)]
                total = vector if total is None else parameters_addition(total, vector)
            return parameters_mod(total, MODULUS)

        return self.clock.run("sum", work)

    def combine(self, name, shares):
        """Open one secret; only as many shares as needed, which its workflow does not see to."""
        return self.clock.run(name, lambda: combine_shares(shares[: self.threshold]))

    def remove_self_mask(self, total, seed):
        """Take a survivor's self mask off."""
        shape = [total[0].shape]
        return self.clock.run(
            "self masks", lambda: parameters_subtraction(total, pseudo_rand_gen(seed, MODULUS, shape))
        )

    def remove_pair_mask(self, total, dropped, secret, other):
        """Take off the mask that `other` holds with a holder that dropped out."""
        shape = [total[0].shape]

        def work():
            key = generate_shared_key(
                bytes_to_private_key(secret), bytes_to_public_key(self.public[other][0])
            )
            change = parameters_addition if dropped > other else parameters_subtraction
            return change(total, pseudo_rand_gen(key, MODULUS, shape))

        return self.clock.run("pair masks", work)


def small_vector(nid, cells):
    """Return a client's vector: already integers, so that its quantisation is on nobody's clock."""
    return (np.arange(cells, dtype=np.int64) * 7919 + nid * 104729) % (1 << 40)


def whole_round(n, threshold, dropped, cells):
    """Run everything, and check the sum."""
    clients = {nid: Client(nid, threshold) for nid in range(n)}
    for client in clients.values():
        client.setup()
    public = {nid: (client.pk1, client.pk2) for nid, client in clients.items()}
    sealed = {nid: client.share_keys(public) for nid, client in clients.items()}
    for nid, client in clients.items():
        client.open_shares({source: box[nid] for source, box in sealed.items() if source != nid})
    alive = [nid for nid in clients if nid not in dropped]
    messages = {nid: clients[nid].mask(small_vector(nid, cells)) for nid in alive}
    server = Server(public, threshold)
    total = server.add(messages.values())
    for nid in alive:
        shares = [clients[holder].seed_shares[nid] for holder in alive]
        total = server.remove_self_mask(total, server.combine("open seeds", shares))
    for nid in dropped:
        secret = server.combine("open keys", [clients[holder].key_shares[nid] for holder in alive])
        for other in alive:
            total = server.remove_pair_mask(total, nid, secret, other)
    total = server.clock.run("sum", lambda: parameters_mod(total, MODULUS))
    expected = sum(small_vector(nid, cells) for nid in alive)
    if not np.array_equal(total[0], expected):
        raise AssertionError("the sum is wrong")
    return [clients[nid].clock.spent for nid in alive], server.clock.spent, len(next(iter(messages.values())))


def fraction_of_round(n, threshold, dropped, cells, *, clients_run, secrets_run, pairs_run):
    """Run some clients wholly and a part of the server's secrets and masks, scaled up in proportion."""
    everybody = {nid: Client(nid, threshold) for nid in range(n)}
    for client in everybody.values():
        client.setup()
    public = {nid: (client.pk1, client.pk2) for nid, client in everybody.items()}
    measured = [everybody[nid] for nid in range(clients_run)]
    for client in measured:
        client.share_keys(public)
        client.open_shares(simulate_incoming(client))
    messages = [client.mask(small_vector(client.nid, cells)) for client in measured]
    alive = n - len(dropped)
    server = Server(public, threshold)
    server.add([messages[0]] * 2)  # the first message is not added to anything
    server.clock.spent.clear()
    total = server.add((messages * alive)[:alive])
    seeds, keys = server.clock, Clock()
    for _ in range(secrets_run):
        shares = create_shares(os.urandom(32), threshold, threshold)
        total = server.remove_self_mask(total, server.combine("open seeds", shares))
    key_shares = create_shares(measured[0].sk1, threshold, threshold)
    secret = keys.run("open keys", lambda: combine_shares(key_shares))
    for other in range(1, 1 + pairs_run):
        total = server.remove_pair_mask(total, 0, secret, other)
    spent = seeds.spent
    scaled = {
        "sum": spent["sum"],
        "open seeds": spent["open seeds"] * alive / secrets_run,
        "self masks": spent["self masks"] * alive / secrets_run,
        "open keys": keys.spent["open keys"] * len(dropped),
        "pair masks": spent["pair masks"] * alive * len(dropped) / pairs_run,
    }
    return [client.clock.spent for client in measured], scaled, len(messages[0])


def main():
    """Read the sizes, run, print."""
    asked = json.loads(sys.argv[1])
    n, threshold, cells = asked["holders"], asked["threshold"], asked["cells"]
    dropped = list(range(n - asked["dropped"], n))
    if asked["fraction"]:
        clients, server, size = fraction_of_round(n, threshold, dropped, cells, **asked["fraction"])
    else:
        done = [whole_round(n, threshold, dropped, cells) for _ in range(asked["rounds"])]
        clients = [spent for round_ in done for spent in round_[0]]
        server = sorted((round_[1] for round_ in done), key=lambda spent: sum(spent.values()))[len(done) // 2]
        size = done[0][2]
    json.dump({"clients": clients, "server": server, "masked_bytes": size}, sys.stdout)


main()
