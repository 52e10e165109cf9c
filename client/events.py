"""Server-sent events as lines of text, read without a socket (WHATWG HTML, section 9.2)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

KEEP_ALIVE: Final = ":"  # no event can be called so


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream: its id ("" if none), name and data. A comment has the name `KEEP_ALIVE`."""

    id: str
    name: str
    data: str


def parse_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Turn the lines of a `text/event-stream` into events.

    Unknown fields are skipped, an event without data is not dispatched, and one that the end of the stream
    cuts off is dropped, as the standard says. A comment, the server's keep-alive, is passed on at once, so that
    whoever waits can look at its own clock.

    Args:
        lines: without their line ends.
    """
    last_id, name, data = "", "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(id=last_id, name=name or "message", data="\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        if not field:
            yield ServerEvent(id="", name=KEEP_ALIVE, data="")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
