from email.message import Message

import pytest

from agent_router.image.sources.http.ranges import Span, Version, parse_content_range, strong_date, unsatisfied_total


@pytest.mark.parametrize(("value", "expected"), [
    ("bytes 100-199/200", Span(100, 199, 200)),
    ("bytes 100-199/*", Span(100, 199, None)),
    ("bytes  0-0/1", Span(0, 0, 1)),
    ("bytes */200", None),
    ("bytes 5-4/200", None),
    ("bytes -5-4/200", None),
    (f"bytes 0-{'9' * 30}/*", None),
    ("items 1-2/3", None),
    ("", None),
])  # fmt: skip
def test_parse_content_range(value, expected):
    assert parse_content_range(value) == expected


@pytest.mark.parametrize(("value", "expected"), [("bytes */200", 200), ("bytes 1-2/200", None), ("", None)])
def test_unsatisfied_total(value, expected):
    assert unsatisfied_total(value) == expected


@pytest.mark.parametrize(("modified", "date", "strong"), [
    ("Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:01:00 GMT", True),
    ("Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:00:59 GMT", False),
    ("Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 09:00:00 GMT", False),
    ("Sun, 22 Nov 2026 10:00:00 GMT", None, False),
    ("yesterday", "Sun, 22 Nov 2026 10:00:59 GMT", False),
    (None, "Sun, 22 Nov 2026 10:00:59 GMT", False),
])  # fmt: skip
def test_a_date_is_strong_only_if_the_file_was_left_alone_for_a_while(modified, date, strong):
    headers = Message()
    for key, value in (("Last-Modified", modified), ("Date", date)):
        if value:
            headers[key] = value
    assert strong_date(headers) == (modified if strong else None)


def test_an_etag_is_the_better_validator():
    assert Version("u", 1, '"e"', "d").validator == '"e"'
    assert Version("u", 1, None, "d").validator == "d"
    assert Version("u", 1, None, None).validator is None
