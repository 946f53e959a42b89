"""Lines of the log: whole, one for each request, without what must not be told."""

from __future__ import annotations

import io
import json
import logging
from functools import partial

import pytest
from tests.waiting import eventually

from prefroute.serve.logs import Lines


def written(form, *requests, records=()):
    stream = io.BytesIO()
    with Lines(form, stream) as lines:
        for values in requests:
            lines.request(values)
        for record in records:
            lines.emit(record)
    return stream.getvalue().decode()


def test_a_value_cannot_forge_a_line():
    evil = 'x\n{"level": "info"}\r\x1b[31m'

    as_json = written("json", {"level": "info", "model": evil})
    as_text = written("text", {"level": "info", "model": evil})

    assert json.loads(as_json)["model"] == evil
    for line in (as_json, as_text):
        assert line.count("\n") == 1
        assert line.endswith("\n")
        assert "\x1b" not in line
        assert "\r" not in line


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("value", ["/data/caf\udce9", ["caf\udce9"], 2**70])
def test_a_value_that_is_no_utf_8_is_written_and_so_is_what_follows(form, value):
    record = logging.LogRecord("x", logging.ERROR, "", 0, "Cannot read %s.", ("/data/caf\udce9",), None)

    lines = written(form, {"level": "info", "odd": value}, {"level": "info", "status": 200}, records=[record])

    odd, plain, message = lines.splitlines()
    assert "caf\\udce9" in odd or str(2**70) in odd
    assert "200" in plain
    assert "Cannot read /data/caf\\udce9." in message


def test_text_leaves_out_what_there_is_not():
    line = written("text", {"level": "info", "message": "request", "status": 200, "model": None})

    assert line.split(maxsplit=1)[1] == "info request status=200\n"


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_error_is_told_by_its_place_and_not_by_its_words(form):
    try:
        raise ValueError("the prompt's text")
    except ValueError as exc:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "It failed.", (), (type(exc), exc, exc.__traceback__))

    line = written(form, records=[record])

    assert "It failed." in line
    assert "ValueError" in line
    assert "test_logs.py" in line
    assert "prompt" not in line


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), ValueError("I/O operation on closed file")])
def test_a_reader_that_has_gone_does_not_end_the_server(error):
    class Gone(io.BytesIO):
        n_tries = 0

        def write(self, data):
            self.n_tries += 1
            raise error

        def was_tried(self, times):
            return self.n_tries == times

    stream = Gone()
    with Lines("json", stream) as lines:
        for n in (1, 2):  # whoever writes lives on after the first
            lines.request({"level": "info"})
            eventually(partial(stream.was_tried, n))
