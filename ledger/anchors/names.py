"""The ids under which the registry knows issuers, licence types and cities: hashes, because the chain needs no names.

Source: docs/licence.md §14.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from ledger.licences.identifiers import require_origin, require_type, require_uscc
from ledger.types import Digest

_ISSUER: Final = b"shuyao/v1/issuer\x00"
_TYPE: Final = b"shuyao/v1/licence-type\x00"


def issuer_id(uscc: str) -> Digest:
    """Return the id of a department.

    Args:
        uscc: its unified social credit code, 18 characters.

    Raises:
        IdentifierInvalid: it is none.
    """
    return Digest(sha256(_ISSUER + require_uscc(uscc).encode()).digest())


@lru_cache(maxsize=4096)  # the same few hundred types come up with every issuer
def type_id(code: str) -> Digest:
    """Return the id of a licence type.

    Args:
        code: 21 characters.

    Raises:
        IdentifierInvalid: it is none.
    """
    return Digest(sha256(_TYPE + require_type(code).encode()).digest())


def city_id(origin: str) -> Digest:
    """Return the id of a city, which is also LogAnchor's origin hash; as an issuer it stands for all departments of that city.

    No origin has a zero byte, so no id of a city is one of a department or a type.

    Args:
        origin: of the city's log.

    Raises:
        Malformed: it is none.
    """
    return Digest(sha256(require_origin(origin).encode()).digest())
