"""JSON-RPC over HTTP on kept connections: one round trip, one or many calls, every failure a named error.

Source: JSON-RPC 2.0; EIP-1474 (Ethereum's methods and error codes).
"""

from __future__ import annotations

import base64
import itertools
import json
from collections import deque
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ledger.encoding import parse_json
from ledger.errors import CallReverted, ChainError, ChainRefused, ChainUnreachable, MalformedValue

RpcCall = tuple[str, list[Any]]  # method, parameters
_ANSWER_MAX: Final = 1 << 28
_EXECUTION: Final = ("eth_call", "eth_estimateGas")
_MOVED: Final = "BlockOutOfRange"  # anvil's, when a block is mined between its choice of the newest one and the look at it


class JsonRpc:
    """A JSON-RPC client for one node. Safe to share between threads.

    Args:
        url: http or https; a user and password in it become basic authentication.
        timeout_s: for one round trip.

    Raises:
        ChainUnreachable: the address is none.
    """

    def __init__(self, url: str, *, timeout_s: float = 10) -> None:
        try:
            parts = urlsplit(url)
            self._port = parts.port
        except ValueError as err:
            raise ChainUnreachable("expected an http or https address of a node") from err
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ChainUnreachable("expected an http or https address of a node")
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._timeout_s = parts.hostname, timeout_s
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"content-type": "application/json"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        self._idle: deque[HTTPConnection] = deque()
        self._ids = itertools.count(1)

    def close(self) -> None:
        """Close the kept connections. The client can be used again."""
        while self._idle:
            self._idle.pop().close()

    def request(self, method: str, *params: Any) -> Any:
        """Make one call and return its result; once more if the node mined a block meanwhile.

        Raises:
            ChainUnreachable: no usable answer.
            CallReverted: the node reports a revert.
            ChainRefused: the node reports any other error.
        """
        result = _result(method, self._post(self._entry(method, list(params))))
        if _has_moved(result):
            result = _result(method, self._post(self._entry(method, list(params))))
        if isinstance(result, ChainError):
            raise result
        return result

    def batch(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Make several calls in one round trip; once more those between which the node mined a block.

        Returns:
            For each call, in order, its result or the ChainError that it met.

        Raises:
            ChainUnreachable: no usable answer to the whole.
        """
        results = self._batch(calls)
        moved = [place for place, result in enumerate(results) if _has_moved(result)]
        for place, result in zip(moved, self._batch([calls[place] for place in moved]), strict=True):
            results[place] = result
        return results

    def _batch(self, calls: Sequence[RpcCall]) -> list[Any]:
        if not calls:
            return []
        body = [self._entry(method, params) for method, params in calls]
        answers = self._post(body)
        if not isinstance(answers, list):
            raise ChainUnreachable("expected a JSON-RPC batch, got one answer")
        by_id = {
            answer["id"]: answer
            for answer in answers
            if isinstance(answer, dict) and isinstance(answer.get("id"), int)
        }
        if any(entry["id"] not in by_id for entry in body):
            raise ChainUnreachable(f"expected {len(body)} answers to a batch, got {len(by_id)}")
        return [_result(entry["method"], by_id[entry["id"]]) for entry in body]

    def _entry(self, method: str, params: list[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    def _post(self, body: Any) -> Any:
        content = json.dumps(body, separators=(",", ":")).encode()
        try:
            answer = self._exchange(content)
        except (OSError, HTTPException) as err:
            raise ChainUnreachable(f"the node does not answer ({type(err).__name__})") from err
        try:
            return parse_json(answer, size_max=_ANSWER_MAX)
        except MalformedValue as err:
            raise ChainUnreachable("expected JSON from the node, got something else") from err

    def _exchange(self, content: bytes) -> bytes:
        """Send and receive, once more when a kept connection turns out to be closed by the node."""
        try:
            kept = self._idle.pop()
        except IndexError:
            kept = None
        if kept is not None:
            try:
                return self._on(kept, content)
            except TimeoutError:
                raise
            except (OSError, HTTPException):
                self.close()  # the others are as old
        return self._on(self._kind(self._host, self._port, timeout=self._timeout_s), content)

    def _on(self, connection: HTTPConnection, content: bytes) -> bytes:
        try:
            connection.request("POST", self._target, content, self._headers)
            response = connection.getresponse()
            answer = response.read(_ANSWER_MAX)
        except BaseException:
            connection.close()
            raise
        if response.isclosed() and not response.will_close:
            self._idle.append(connection)
        else:
            connection.close()
        return answer


def _result(method: str, answer: Any) -> Any:
    """Return a call's result, or the error that the node reports, as a value."""
    if not isinstance(answer, dict):
        raise ChainUnreachable("expected a JSON-RPC answer, got something else")
    error = answer.get("error")
    if error is None:
        if "result" not in answer:
            raise ChainUnreachable("expected a JSON-RPC answer with a result or an error")
        return answer["result"]
    fields = error if isinstance(error, dict) else {"message": str(error)}
    code, message = fields.get("code"), str(fields.get("message", ""))[:300]
    if code == 3 or (method in _EXECUTION and "revert" in message.lower()):
        return CallReverted(_revert_data(fields.get("data")), message)
    return ChainRefused(method, code if isinstance(code, int) else 0, message)


def _has_moved(result: Any) -> bool:
    return isinstance(result, ChainRefused) and _MOVED in result.reason


def _revert_data(data: Any) -> bytes:
    if isinstance(data, dict):
        data = data.get("data")
    try:
        return bytes.fromhex(data.removeprefix("0x")) if isinstance(data, str) else b""
    except ValueError:
        return b""
