"""The join demo's made-up tables: a bank's company customers, and what the power company's meters read of companies.

Every value is a function of the row's number, so two runs give the same tables on any machine. The two sides write the same
code differently, as two organisations do: in full-width characters, in lower case, with spaces or hyphens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

KEY: Final = "统一社会信用代码"
GRADES: Final = ("甲", "乙", "丙", "丁")  # the last one is not in the policy's domain: it counts as other
INDUSTRIES: Final = ("制造业", "零售业", "餐饮业", "服务业", "建筑业")
TOWNS: Final = ("东镇", "西镇", "南镇", "北镇", "市外")
READINGS_MAX: Final = 7
UNKNOWN: Final = 100  # one row in so many has no code, and one a code with a wrong check character
_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_FIRST: Final = ("永兴", "金辉", "海川", "恒达", "瑞丰", "嘉禾", "东方红", "阿依古丽", "欧阳", "吉祥·如意")
_SECOND: Final = ("电子", "服饰", "餐饮", "物流", "家具", "模具", "贸易", "食品")
FULL_WIDTH: Final = {ord(each): ord(each) + 0xFEE0 for each in "0123456789ABCDEFGHJKLMNPQRTUWXYZ"}


def code_of(company: int) -> str:
    """Return the unified social credit code of a company: GB 32100-2015, check character included."""
    body = f"91441900{company:09d}"
    total = sum(_ALPHABET.index(each) * pow(3, place, 31) for place, each in enumerate(body))
    return body + _ALPHABET[-total % 31]


def name_of(company: int) -> str:
    """Return a company's name."""
    return f"{_FIRST[company % len(_FIRST)]}{_SECOND[company // 7 % len(_SECOND)]}有限公司"


def customers(rows: int) -> Iterator[dict[str, Any]]:
    """Yield the bank's customers: every company whose number is no multiple of three."""
    for number in range(rows):
        company = number + number // 2 + 1
        drawn = _drawn(f"bank {company}")
        yield {
            KEY: _written(code_of(company), f"甲{number}", number, drawn[0]),
            "企业名称": name_of(company),
            "客户号": f"C{number:07}",
            "信用等级": GRADES[min(drawn[1] * 5 // 512, 2) if number % UNKNOWN else 3],
            "贷款余额": round(drawn[2] * 15.5 + drawn[3] / 7, 1),
        }


def readings(rows: int) -> Iterator[dict[str, Any]]:
    """Yield the power company's readings: every second company, one to seven months of each."""
    number, company = 0, 0
    while number < rows:
        company += 2
        drawn = _drawn(f"power {company}")
        months = min(1 + drawn[0] % READINGS_MAX, rows - number)
        for month in range(months):
            used = _drawn(f"power {company} {month}")
            yield {
                KEY: _written(code_of(company), f"乙{number}", number, drawn[1] + 1),
                "企业名称": name_of(company),
                "电表号": f"M{company:07}",
                "月份": f"2026-{month + 1:02}",
                "行业": INDUSTRIES[4 if drawn[2] < 3 else drawn[2] % 4],
                "镇": TOWNS[4 if drawn[3] < 3 else drawn[3] % 4],
                "用电量": round(200 + drawn[4] * 11 + used[0] * 3 + used[1] / 9, 1),
            }
            number += 1


def write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows as Parquet."""
    pq.write_table(pa.Table.from_pylist(list(rows)), path, compression="zstd")


def _written(code: str, wrong: str, number: int, way: int) -> str | None:
    """Return a code as one side happened to write it; of some rows none, or one that is wrong."""
    if number % UNKNOWN == 37:
        return None
    if number % UNKNOWN == 73:
        return wrong
    match way % 4:
        case 0:
            return code.translate(FULL_WIDTH)
        case 1:
            return code.lower()
        case 2:
            return f" {code[:8]}-{code[8:17]}-{code[17]}"
    return code


def _drawn(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
