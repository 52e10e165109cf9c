"""Licence types: the ones that come along are whole, and none can name what the issuer must show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.licences.errors import HiddenMandatoryField, IdentifierInvalid, LicenceError, Malformed
from ledger.licences.schema import RESERVED, LicenceType, demonstration_types

KIND: dict[str, Any] = {
    "code": "11100000MB0143028R001",
    "name": "营业执照",
    "version": 1,
    "fields": [{"name": "uscc", "title": "代码"}],
}


def test_demonstration_has_its_five_types() -> None:
    types = demonstration_types()
    assert {kind.name for kind in types.values()} == {
        "营业执照", "食品经营许可证", "不动产权证书", "居住证", "道路运输经营许可证"
    }  # fmt: skip
    assert all(kind.code == code and len(kind.salted) >= 10 for code, kind in types.items())
    assert len(types["11100000MB0143028R001"].salted) == 12


def test_type_is_read_as_it_is_written() -> None:
    kind = LicenceType.parse(json.dumps(KIND).encode())
    assert (kind.code, kind.name, kind.version, kind.names) == (KIND["code"], "营业执照", 1, ("uscc",))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_field_cannot_have_the_name_of_a_mandatory_member(name: str) -> None:
    with pytest.raises(HiddenMandatoryField):
        LicenceType.parse(json.dumps({**KIND, "fields": [{"name": name, "title": "x"}]}).encode())


@pytest.mark.parametrize(
    "changes",
    [{"fields": None}, {"fields": [1]}, {"fields": [{"name": "a"}]}, {"fields": [{"name": "名", "title": "x"}]},
     {"fields": [{"name": "a", "title": ""}]}, {"fields": [{"name": "a", "title": "x"}] * 2},
     {"fields": [{"name": f"a{i}", "title": "x"} for i in range(65)]}, {"name": ""}, {"name": "a\n"},
     {"version": 0}, {"version": True}, {"version": "1"}, {"extra": 1}, {"fields": [{"name": "а", "title": "x"}]}],
)  # fmt: skip
def test_anything_else_is_no_type(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        LicenceType.parse(json.dumps({**KIND, **changes}).encode())


@pytest.mark.parametrize("code", ["", "11100000MB0143028R00A", "11100000MB0143028S001"])
def test_type_of_another_code_is_refused(code: str) -> None:
    with pytest.raises(IdentifierInvalid):
        LicenceType.parse(json.dumps({**KIND, "code": code}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b'{"code":1,"code":2}'])
def test_what_is_no_json_of_a_type_is_a_named_error(data: bytes) -> None:
    with pytest.raises(LicenceError):
        LicenceType.parse(data)
