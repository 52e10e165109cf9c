"""A made-up register of businesses as a department's Parquet file, written in pieces: memory stays flat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.licences import SERIAL_SIZE
from benchmarks.readings import mix

CHUNK_ROWS = 250_000
FIRST_DAY, DAYS, YEARS_20 = 14_610, 5_000, 7_305  # days since 1970
WORDS = (
    "瑞丰",
    "海纳",
    "恒通",
    "嘉禾",
    "金桥",
    "宏图",
    "盛达",
    "永泰",
    "华远",
    "东晟",
    "汇景",
    "卓越",
    "安信",
    "中科",
    "明德",
    "联创",
)
TRADES = (
    "科技",
    "贸易",
    "电子",
    "机械",
    "纺织",
    "餐饮管理",
    "建筑工程",
    "物流",
    "家具",
    "五金制品",
    "医疗器械",
    "文化传播",
)
KINDS = (
    "有限责任公司",
    "有限责任公司(自然人独资)",
    "股份有限公司",
    "个人独资企业",
    "个体工商户",
    "普通合伙企业",
)
SURNAMES = tuple("王李张刘陈杨黄赵吴周徐孙马朱胡林郭何高罗")
GIVEN = tuple("伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰")
SCOPES = (
    "软件开发与信息技术咨询服务",
    "货物进出口和技术进出口",
    "五金产品批发与零售",
    "食品销售(凭许可证经营)",
    "普通货物道路运输",
    "建筑材料销售",
    "服装及纺织品制造",
    "电子元器件制造与销售",
    "餐饮服务",
    "企业管理咨询",
    "机械设备租赁",
    "广告设计与代理",
)
DISTRICTS = (
    "莞城街道",
    "南城街道",
    "东城街道",
    "万江街道",
    "虎门镇",
    "长安镇",
    "厚街镇",
    "塘厦镇",
    "常平镇",
    "松山湖园区",
)
ROADS = ("人民路", "振兴大道", "工业一路", "创新路", "莞太路", "东纵路", "银湖路", "科技四路")


def write(path: Path, rows: int) -> None:
    """Write `rows` businesses; the same rows for the same number, on every machine."""
    with pq.ParquetWriter(path, _chunk(0, 1).schema, compression="zstd") as writer:
        for first in range(0, rows, CHUNK_ROWS):
            writer.write_table(_chunk(first, min(CHUNK_ROWS, rows - first)))


def serial(row: int) -> str:
    """Return the serial of a row."""
    return f"{row:0{SERIAL_SIZE}d}"


def _chunk(first: int, count: int) -> pa.Table:
    number = np.arange(first, first + count, dtype=np.uint64)
    draws = _Draws(number)
    begun = FIRST_DAY + draws.below(DAYS).astype(np.int32)
    day = pc.strftime(pa.array(begun, pa.date32()), format="%Y-%m-%d")
    approved = pc.strftime(pa.array(begun + 30, pa.date32()), format="%Y-%m-%d")
    scopes = [draws.word(SCOPES) for _ in range(3)]
    columns = {
        "serial": pc.utf8_lpad(_digits(number), SERIAL_SIZE, "0"),
        "first_day": pa.array(begun, pa.date32()),
        "last_day": pa.array(begun + YEARS_20, pa.date32(), mask=draws.below(3) == 0),
        "uscc": _joined("91441900MA", pc.utf8_lpad(_digits(draws.below(10**8)), 8, "0")),
        "entity_name": _joined(
            "东莞市", draws.word(WORDS), draws.word(WORDS), draws.word(TRADES), "有限公司"
        ),
        "entity_type": draws.word(KINDS),
        "legal_representative": _joined(draws.word(SURNAMES), draws.word(GIVEN), draws.word(GIVEN)),
        "business_scope": _joined(scopes[0], "；", scopes[1], "；", scopes[2]),
        "registered_capital": _joined("人民币", _digits(10 * (1 + draws.below(500))), "万元"),
        "established_on": day,
        "address": _joined(
            "广东省东莞市",
            draws.word(DISTRICTS),
            draws.word(ROADS),
            _digits(1 + draws.below(400)),
            "号",
            _digits(101 + draws.below(900)),
            "室",
        ),
        "registration_authority": pa.array(["东莞市市场监督管理局"] * count),
        "approved_on": approved,
        "operating_period": _joined(day, " 至 长期"),
        "registration_number": _joined("4419", pc.utf8_lpad(_digits(draws.below(10**11)), 11, "0")),
    }
    return pa.table(columns)


class _Draws:
    """Numbers that follow from the row's, another column of them with each call."""

    def __init__(self, number: NDArray[np.uint64]) -> None:
        self._number, self._calls = number, 0

    def below(self, end: int) -> NDArray[np.uint64]:
        self._calls += 1
        return mix(self._number + np.uint64(self._calls << 40)) % np.uint64(end)

    def word(self, words: Sequence[str]) -> pa.Array:
        return pa.array(words).take(pa.array(self.below(len(words)).astype(np.int32)))


def _digits(numbers: NDArray[np.uint64]) -> pa.Array:
    return pc.cast(pa.array(numbers), pa.string())


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")
