"""Event streams, line by line."""

from client.events import KEEP_ALIVE, ServerEvent, parse_events


def test_an_event_has_its_id_name_and_data() -> None:
    lines = ["id: 7", "event: state", 'data: {"state":"open"}', ""]
    assert list(parse_events(lines)) == [ServerEvent("7", "state", '{"state":"open"}')]


def test_a_comment_is_a_sign_of_life_and_unknown_fields_are_skipped() -> None:
    lines = [": keep-alive", "", "retry: 100", "colour: blue", "data: a", ""]
    assert list(parse_events(lines)) == [ServerEvent("", KEEP_ALIVE, ""), ServerEvent("", "message", "a")]


def test_several_data_lines_are_joined() -> None:
    assert list(parse_events(["data: a", "data:b", "data", ""])) == [ServerEvent("", "message", "a\nb\n")]


def test_an_event_without_data_is_not_dispatched() -> None:
    assert list(parse_events(["event: state", "", "data: a", ""])) == [ServerEvent("", "message", "a")]


def test_an_event_cut_off_by_the_end_of_the_stream_is_dropped() -> None:
    assert list(parse_events(["data: a", "", "data: half"])) == [ServerEvent("", "message", "a")]


def test_the_last_id_holds_until_another_is_given() -> None:
    events = list(parse_events(["id: 1", "data: a", "", "data: b", "", "id: bad\0", "data: c", ""]))
    assert [event.id for event in events] == ["1", "1", "1"]
