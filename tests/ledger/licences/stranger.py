"""A verifier of bundles as a stranger writes it, from docs/licence.md and docs/log.md alone: nothing of this repository is in it.

Ed25519 only; no recognition of other cities and no anchor proved by headers (§10). What it has not learnt it refuses, so it may
call a bundle INVALID that is not; what it calls VALID must be.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Json = dict[str, Any]
CODES = {1: "Revoked", 2: "Suspended", 3: "NotIssued"}
MANDATORY = {"iss", "vct", "lid", "ver", "jti", "iat", "nbf", "status", "cnf", "_sd_alg", "_sd"}
NO_LAST_DAY = 0x7FFFFFFF


class Refused(Exception):
    """A contradiction, by its name in licence.md §11."""


def judge(
    bundle: bytes, policy: bytes, *, now_s: int, bearer: tuple[str, str] | None = None
) -> tuple[str, str | None, Json]:
    """Judge a bundle: VALID, INVALID with the reason, or UNKNOWN with the first thing that is missing, and the disclosed fields.

    Args:
        bundle, policy: the files.
        now_s: Unix seconds.
        bearer: the nonce and the audience that the bearer must have answered.
    """
    try:
        found = _Judge(bundle, policy, now_s)
        missing = found.run(bearer)
    except Refused as reason:
        return "INVALID", str(reason), {}
    except (KeyError, IndexError, TypeError, ValueError, zlib.error, RecursionError):
        return "INVALID", "Malformed", {}
    return ("UNKNOWN", missing[0], {}) if missing else ("VALID", None, found.fields)


class _Judge:
    def __init__(self, bundle: bytes, policy: bytes, now_s: int) -> None:
        self.now_s = now_s
        self.bundle: Json = json.loads(bundle)
        self.policy: Json = json.loads(policy)
        if jcs(self.bundle) != bundle or self.bundle["version"] != 1:
            raise Refused("Malformed")
        members = "version credential origin checkpoint inclusion issuer status anchor recognition"
        if self.bundle.keys() != set(members.split()):
            raise Refused("Malformed")
        self.missing: list[str] = []
        self.seen: list[int] = []

    def run(self, bearer: tuple[str, str] | None) -> list[str]:
        """Do the steps of §11 in their order; returns what is missing."""
        self.shape()
        cities = [city for city in self.policy["cities"] if city["origin"] == self.bundle["origin"]]
        if not cities:
            return ["city"]
        self.city = cities[0]
        self.checkpoint()
        if self.missing:
            return self.missing
        self.issuer()
        self.inclusion()
        code = self.status()
        if code not in (None, 0):
            raise Refused(CODES.get(code or 0, "Revoked"))
        self.times()
        self.anchor()
        if bearer is not None:
            self.bearer(*bearer)
        return self.missing

    def shape(self) -> None:
        """1. The credential is taken apart, and its digests are those of its disclosures."""
        self.text = unpack_credential(self.bundle["credential"])
        self.jwt, *disclosures, self.key_binding = self.text.split("~")
        self.payload: Json = json.loads(unb64(self.jwt.split(".")[1]))
        if MANDATORY - self.payload.keys():
            raise Refused("HiddenMandatoryField")
        digests, shown = self.payload["_sd"], [b64(sha256(text.encode())) for text in disclosures]
        if self.payload["_sd_alg"] != "sha-256" or digests != sorted(set(digests)):
            raise Refused("Malformed")
        if len(set(shown)) < len(shown) or set(shown) - set(digests):
            raise Refused("Malformed")
        self.fields = {name: value for _, name, value in (json.loads(unb64(text)) for text in disclosures)}
        if self.fields.keys() & (MANDATORY | {"exp", "prev", "evt", "..."}):
            raise Refused("HiddenMandatoryField")
        if not self.payload["status"]["status_list"]["uri"].startswith(
            f"urn:shuyao:status:{self.bundle['origin']}:"
        ):
            raise Refused("WrongLog")

    def checkpoint(self) -> None:
        """3. Signatures of log and witnesses, and the quorum's time."""
        if self.bundle["checkpoint"] is None:
            self.missing.append("checkpoint")
            return
        body, signatures = split_note(self.bundle["checkpoint"])
        origin, size, root, *_ = body.split("\n")
        if origin != self.bundle["origin"]:
            raise Refused("WrongLog")
        self.size, self.root = int(size), base64.b64decode(root, validate=True)
        if not verified(signatures, self.city["log_key"], body, "CheckpointForged"):
            raise Refused("CheckpointForged")
        times = []
        for vkey in self.city["witnesses"]:
            if raw := verified(signatures, vkey, body, "CosignatureForged"):
                times.append(int.from_bytes(raw[:8], "big"))
        if len(times) < self.city["threshold"]:
            self.missing.append("quorum")
            return
        self.seen.append(sorted(times, reverse=True)[self.city["threshold"] - 1])

    def issuer(self) -> None:
        """4. The registrar's history of the issuer, and the credential's signature."""
        if self.bundle["issuer"] is None:
            self.missing.append("issuer")
            return
        history = verified_jws(
            unpack_jws(self.bundle["issuer"]), self.city["registrar"], "issuer-history+jwt", "IssuerForged"
        )
        if (self.payload["iss"], history["origin"]) != (
            f"urn:shuyao:issuer:{history['issuer']}",
            self.bundle["origin"],
        ):
            raise Refused("IssuerForged")
        self.seen.append(history["iat"])
        is_stale = self.now_s >= history["exp"] or self.now_s - history["iat"] > self.policy["issuer_age_s"]
        kid = json.loads(unb64(self.jwt.split(".")[0]))["kid"]
        keys = [key for key in history["keys"] if b64(thumbprint(key["jwk"])) == kid]
        if is_stale or history["size"] <= int((self.bundle["inclusion"] or {"index": "0"})["index"]):
            self.missing.append("issuer")
        if not keys:
            if self.missing:
                return
            raise Refused("KeyUnknown")
        self.key = keys[0]
        if self.payload["vct"].rpartition(":")[2] not in self.key["types"]:
            raise Refused("TypeNotAllowed")
        verified_jws(self.jwt, self.key["jwk"], "dc+sd-jwt", "CredentialForged")
        self.seen.append(self.payload["iat"])

    def inclusion(self) -> None:
        """5. The credential's leaf under the checkpoint, and its key's time in the log."""
        if self.bundle["inclusion"] is None:
            self.missing.append("inclusion")
            return
        claims, listed = self.payload, self.payload["status"]["status_list"]
        kind = 7 if claims.get("evt") == "transfer_in" else 2 if "prev" in claims else 1
        header = json.loads(unb64(self.jwt.split(".")[0]))
        entry = leaf(
            kind,
            ids=unb64(claims["jti"]) + unb64(header["kid"]) + sha256(self.jwt.encode()),
            slot=(int(listed["uri"].rpartition(":")[2]), listed["idx"]),
            days=(0, day(claims["iat"]), day(claims["exp"] - 1) if "exp" in claims else NO_LAST_DAY),
            previous=bytes.fromhex(claims.get("prev", "00" * 32)),
            rest=(claims["vct"].rpartition(":")[2], b""),
        )
        if len(entry) != 155 or not self.is_logged(entry, self.bundle["inclusion"]):
            raise Refused("NotInLog")
        if "issuer" in self.missing:
            return
        index = int(self.bundle["inclusion"]["index"])
        for end, reason in (("retired", "KeyRetired"), ("compromised", "KeyCompromised")):
            if index >= self.key.get(end, index + 1):
                raise Refused(reason)
        if index <= self.key["added"]:
            raise Refused("KeyNotYetActive")

    def status(self) -> int | None:
        """6. The status token, and the code in it; None where there is none that counts."""
        part = self.bundle["status"]
        if part is None:
            self.missing.append("status")
            return None
        text = unpack_jws(part["token"])
        token = verified_jws(text, self.city["service"], "statuslist+jwt", "StatusForged")
        listed = self.payload["status"]["status_list"]
        if token["sub"] != listed["uri"]:
            raise Refused("StatusOfOtherList")
        entry = leaf(
            11,
            ids=unb64(token["jti"])
            + unb64(json.loads(unb64(text.split(".")[0]))["kid"])
            + sha256(text.encode()),
            slot=(int(listed["uri"].rpartition(":")[2]), 0xFFFFFFFF),
            days=(0xFF, day(token["iat"]), NO_LAST_DAY),
            previous=bytes(32),
            rest=("", unb64(token["digest"])),
        )
        if not self.is_logged(entry, part):
            raise Refused("StatusForged")
        bits = zlib.decompress(unb64(token["status_list"]["lst"]))
        if len(bits) != 1 << 19 or b64(sha256(bits)) != token["digest"] or token["status_list"]["bits"] != 4:
            raise Refused("StatusForged")
        self.seen.append(token["iat"])
        inclusion = self.bundle["inclusion"]
        if inclusion is not None and int(part["index"]) < int(inclusion["index"]):
            self.missing.append("status")
            return None
        code = bits[listed["idx"] // 2] >> 4 * (listed["idx"] & 1) & 15
        age = self.now_s - token["iat"]
        if self.now_s >= token["exp"] or age > min(token["ttl"], self.policy["status_age_s"]):
            self.missing.append("status")
            return None if code == 2 else code
        return code

    def times(self) -> None:
        """7. The licence's dates, by a clock that is not behind the evidence."""
        seen = max(self.seen)
        if seen > self.now_s + self.policy["skew_s"]:
            self.missing.append("clock")
        now = max(self.now_s, seen)
        if now >= self.payload.get("exp", now + 1):
            raise Refused("Expired")
        if now < self.payload["nbf"]:
            raise Refused("NotYetValid")

    def anchor(self) -> None:
        """8. What the witnesses saw on the chain."""
        wanted, pin, given = self.policy["anchor"], self.city["anchor"], self.bundle["anchor"]
        if given is None or pin is None:
            if wanted != "none":
                self.missing.append("anchor")
            return
        if given["kind"] != "attested":
            raise Refused("AnchorForged")  # by headers: not learnt
        body, signatures = split_note(given["notes"])
        title, chain_id, contract, _block, _hash, size, root, _status, _time, _ = body.split("\n")
        if title != "shuyao/anchor/v1":
            raise Refused("AnchorForged")
        count = 0
        for vkey in self.city["witnesses"]:
            name, _, public = vkey.split("+", 2)
            raw = b"\1" + base64.b64decode(public, validate=True)[1:]
            key_id = sha256(name.encode() + b"\n" + raw)[:4].hex()
            note_key = f"{name}+{key_id}+{base64.b64encode(raw).decode()}"
            count += verified(signatures, note_key, body, "AnchorForged") is not None
        if (int(chain_id), contract) != (pin["chain_id"], pin["contract"]):
            raise Refused("WrongChain")
        if (int(size), base64.b64decode(root, validate=True)) != (self.size, self.root):
            raise Refused("AnchorMismatch")
        if count < self.city["threshold"] or wanted == "proved":
            self.missing.append("anchor")

    def bearer(self, nonce: str, audience: str) -> None:
        """9. Who presents the licence holds the key in `cnf`, here and now."""
        if not self.key_binding:
            self.missing.append("bearer")
            return
        jwk = self.payload["cnf"]["jwk"]
        shown = verified_jws(self.key_binding, jwk, "kb+jwt", "BearerForged", has_kid=False)
        hashed = self.text[: len(self.text) - len(self.key_binding)]
        if shown.keys() != {"aud", "iat", "nonce", "sd_hash"} or shown["sd_hash"] != b64(
            sha256(hashed.encode())
        ):
            raise Refused("BearerForged")
        if shown["nonce"] != nonce:
            raise Refused("NonceMismatch")
        if shown["aud"] != audience:
            raise Refused("AudienceMismatch")
        if abs(self.now_s - shown["iat"]) > self.policy["kb_age_s"]:
            self.missing.append("bearer")

    def is_logged(self, entry: bytes, part: Json) -> bool:
        """Say whether an entry is under the checkpoint's root (log.md §1)."""
        at, last, path = int(part["index"]), self.size - 1, unb64(part["path"])
        if not 0 <= at <= last or len(path) % 32:
            return False
        node = sha256(b"\0" + entry)
        for begin in range(0, len(path), 32):
            sibling = path[begin : begin + 32]
            if not last:
                return False
            if at & 1 or at == last:
                node = sha256(b"\1" + sibling + node)
                while not at & 1 and at:
                    at, last = at >> 1, last >> 1
            else:
                node = sha256(b"\1" + node + sibling)
            at, last = at >> 1, last >> 1
        return last == 0 and node == self.root


# --- bytes -----------------------------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    """Hash."""
    return hashlib.sha256(data).digest()


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Decode base64url without padding, in its one form."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise Refused("Malformed")
    return data


def jcs(value: object) -> bytes:
    """Encode as RFC 8785 does where there are integers and ASCII names only."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def day(time_s: int) -> int:
    """Count days in China Standard Time."""
    return (time_s + 28_800) // 86_400


def leaf(
    kind: int,
    *,
    ids: bytes,
    slot: tuple[int, int],
    days: tuple[int, int, int],
    previous: bytes,
    rest: tuple[str, bytes],
) -> bytes:
    """Lay a leaf out (§5): `ids` are event id, key id and evidence; `days` the code and both days; `rest` type and extra."""
    code, event_day, last_day = days
    data = bytes([1, kind]) + ids + slot[0].to_bytes(4, "big") + slot[1].to_bytes(4, "big") + bytes([code])
    data += event_day.to_bytes(4, "big", signed=True) + last_day.to_bytes(4, "big", signed=True) + previous
    return data + bytes([len(rest[0])]) + rest[0].encode("ascii") + len(rest[1]).to_bytes(2, "big") + rest[1]


# --- packed texts (§8) -----------------------------------------------------------------------------------


def _part(value: object) -> str:
    return value if isinstance(value, str) else b64(jcs(value))


def unpack_jws(value: object) -> str:
    """Win a JWS back."""
    return value if isinstance(value, str) else ".".join(map(_part, value))  # type: ignore[call-overload]  # or it is refused


def unpack_credential(parts: list[object]) -> str:
    """Win an SD-JWT back: JWTs at both ends, disclosures between."""
    first, *disclosures, last = parts
    return "~".join([unpack_jws(first), *map(_part, disclosures), unpack_jws(last)])


# --- signatures ------------------------------------------------------------------------------------------


def thumbprint(jwk: Json) -> bytes:
    """Hash a public key (RFC 7638)."""
    return sha256(jcs({name: jwk[name] for name in ("crv", "kty", "x")}))


def verified_jws(text: str, jwk: Json, typ: str, forged: str, *, has_kid: bool = True) -> Json:
    """Return the payload of a JWS that the key signed."""
    header, payload, signature = text.split(".")
    expected = {"alg": "EdDSA", "typ": typ, **({"kid": b64(thumbprint(jwk))} if has_kid else {})}
    if json.loads(unb64(header)) != expected:
        raise Refused(forged)
    try:
        Ed25519PublicKey.from_public_bytes(unb64(jwk["x"])).verify(
            unb64(signature), f"{header}.{payload}".encode()
        )
    except InvalidSignature as err:
        raise Refused(forged) from err
    found: Json = json.loads(unb64(payload))
    return found


def split_note(text: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return a note's text, and its signatures by name."""
    at = text.rindex("\n\n") + 1
    signatures = []
    for line in text[at + 1 :].removesuffix("\n").split("\n"):
        dash, name, raw = line.split(" ")
        if dash != "—":
            raise Refused("Malformed")
        signatures.append((name, base64.b64decode(raw, validate=True)))
    return text[:at], signatures


def verified(signatures: list[tuple[str, bytes]], vkey: str, body: str, forged: str) -> bytes | None:
    """Return what a key's signature has after the key id, if there is one; one that does not verify is refused."""
    name, key_id, public = vkey.split("+", 2)
    raw = base64.b64decode(public, validate=True)
    for signer, found in signatures:
        if (signer, found[:4].hex()) != (name, key_id):
            continue
        data, signature = body, found[4:]
        if raw[0] == 4:
            time_s, signature = int.from_bytes(found[4:12], "big"), found[12:]
            data = f"cosignature/v1\ntime {time_s}\n{body}"
        try:
            Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature, data.encode())
        except InvalidSignature as err:
            raise Refused(forged) from err
        return found[4:]
    return None
