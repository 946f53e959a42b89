"""A small answer is had whole or not at all; files are tested in test_fetch.py."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from prefroute.data.download import Line, Promise, download, get
from prefroute.errors import UpstreamUnavailable

PATH = "owner/name/main/list.json"
CONTENT = b"0123456789" * 100


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def line(waits: list[float]) -> Line:
    return Line(sleep=waits.append)


@pytest.fixture
def resetting() -> Iterator[str]:
    """An address that resets its first connection in the middle of the answer."""

    def answer() -> None:
        for n_sent in (3, len(CONTENT)):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT[:n_sent])
                if n_sent < len(CONTENT):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()


def test_an_answer_that_ends_early_is_asked_for_again(hub, line, waits):
    hub.files["owner/name/list.json"] = CONTENT
    hub.script = [("cut", 3)]

    assert get(f"{hub.url}/{PATH}", line) == CONTENT
    assert waits == [0.5]


def test_an_answer_that_never_comes_whole_is_refused(hub, line):
    hub.files["owner/name/list.json"] = CONTENT
    hub.script = [("cut", 3)] * 5

    with pytest.raises(UpstreamUnavailable, match="broke off after 3 of 1,000 bytes"):
        get(f"{hub.url}/{PATH}", line)


def test_a_connection_that_is_reset_is_tried_again(resetting, line, waits):
    assert get(resetting, line) == CONTENT
    assert waits == [0.5]


def test_a_length_that_is_no_number_is_no_promise(hub, line, tmp_path):
    hub.script = [("status", (200, {"Content-Length": "\xb2"}))]

    assert download(f"{hub.url}/{PATH}", tmp_path / "list.json.part", Promise(), line).size == len(b"no")
