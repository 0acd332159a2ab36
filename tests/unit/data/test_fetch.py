"""Downloads over a real connection to a server that cuts, lies, changes its mind and refuses."""

from __future__ import annotations

import hashlib
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from web import Server, changed, cut, redirect, serving, silent, status, trickle

from aurl.data import fetch as fetching
from aurl.data.fetch import FetchPolicy, fetch, file_hashes
from aurl.utils.errors import AurlError

BODY = bytes(range(256)) * 40
OTHER = b"another file" * 800
QUICK = FetchPolicy(timeout_seconds=0.5, tries=4, first_wait_seconds=0.01, longest_wait_seconds=0.02)
SHA = {"sha256": hashlib.sha256(BODY).hexdigest()}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "file.bin"


def only_the_file(target: Path) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_file_is_loaded_checked_and_told_about(server: Server, target: Path) -> None:
    server.add("/f", BODY)
    seen: list[tuple[int, int | None]] = []
    sums = {**SHA, "md5": hashlib.md5(BODY).hexdigest().upper()}
    fetch(server.url("/f"), target, size=len(BODY), checksums=sums, progress=lambda *at: seen.append(at))
    assert target.read_bytes() == BODY and only_the_file(target)
    assert seen[-1] == (len(BODY), len(BODY))


def test_a_file_that_is_there_and_right_is_not_loaded_again(server: Server, target: Path) -> None:
    resource = server.add("/f", BODY)
    for _ in range(2):
        fetch(server.url("/f"), target, checksums=SHA)
    assert len(resource.requests) == 1


def test_a_cut_connection_goes_on_where_it_was_cut(server: Server, target: Path) -> None:
    resource = server.add("/f", BODY, cut(3000), cut(7000))
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY and only_the_file(target)
    assert [request.get("Range") for request in resource.requests] == [None, "bytes=3000-", "bytes=7000-"]
    assert resource.requests[1]["If-Range"] == '"v1"'


def test_a_new_call_goes_on_where_the_last_one_gave_up(server: Server, target: Path) -> None:
    resource = server.add("/f", BODY, cut(3000), *[status(503)] * 4)
    with pytest.raises(AurlError, match=r"answers 503 .* 4 times in a row; run the same command again"):
        fetch(server.url("/f"), target, policy=QUICK)
    assert not target.exists()
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY and resource.requests[-1]["Range"] == "bytes=3000-"


def test_a_part_of_another_address_is_not_continued(server: Server, target: Path) -> None:
    server.add("/old", OTHER, cut(3000), *[status(503)] * 4)
    new = server.add("/new", BODY)
    with pytest.raises(AurlError):
        fetch(server.url("/old"), target, policy=QUICK)
    fetch(server.url("/new"), target)
    assert target.read_bytes() == BODY and "Range" not in new.requests[0]


def test_a_complete_part_needs_no_byte_more(server: Server, target: Path) -> None:
    resource = server.add("/f", BODY, cut(3000), *[status(503)] * 4)
    with pytest.raises(AurlError):
        fetch(server.url("/f"), target, policy=QUICK)
    target.with_name("file.bin.part").write_bytes(BODY)
    fetch(server.url("/f"), target, checksums=SHA)
    assert resource.requests[-1]["Range"] == f"bytes={len(BODY)}-" and only_the_file(target)


@pytest.mark.parametrize("checksums", [{}, SHA])
def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, target: Path, checksums: dict) -> None:
    server.add("/f", BODY, cut(3000), ranges=False)
    fetch(server.url("/f"), target, policy=QUICK, checksums=checksums)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("version", [{"etag": None}, {"etag": 'W/"weak"'}])
def test_without_a_version_or_checksum_nothing_is_continued(server: Server, target: Path, version: dict) -> None:
    resource = server.add("/f", BODY, cut(3000), **version)
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY and "Range" not in resource.requests[1]


def test_a_date_of_change_serves_as_version_and_a_checksum_does_without(server: Server, target: Path) -> None:
    dated = server.add("/f", BODY, cut(3000), etag=None, modified=formatdate(usegmt=True))
    fetch(server.url("/f"), target, policy=QUICK)
    assert dated.requests[1]["If-Range"] == dated.modified
    plain = server.add("/g", BODY, cut(3000), etag=None)
    fetch(server.url("/g"), target.with_name("g"), policy=QUICK, checksums=SHA)
    assert plain.requests[1]["Range"] == "bytes=3000-" and "If-Range" not in plain.requests[1]


def test_a_file_that_changes_between_attempts_is_loaded_anew(server: Server, target: Path) -> None:
    server.add("/f", OTHER, cut(3000), changed(BODY, '"v2"'))
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY


def test_a_file_that_changes_behind_an_unchanged_name_is_found_by_its_checksum(server: Server, target: Path) -> None:
    server.add("/f", OTHER[: len(BODY)].ljust(len(BODY), b"x"), cut(3000), changed(BODY, '"v1"'))
    fetch(server.url("/f"), target, policy=QUICK, checksums=SHA)
    assert target.read_bytes() == BODY


def lying_range(etag: str, total: int, code: int = 206) -> Callable[[Any, Any], bool]:
    """A part of the file, whatever version was asked for."""

    def fault(handler: Any, resource: Any) -> bool:
        handler.send_response(code)
        start = handler.headers["Range"].removeprefix("bytes=").rstrip("-")
        handler.send_header(
            "Content-Range", f"bytes {start}-{total - 1}/{total}" if code == 206 else f"bytes */{total}"
        )
        handler.send_header("Content-Length", "0")
        handler.send_header("ETag", etag)
        handler.end_headers()
        return True

    return fault


def test_a_server_that_continues_another_version_is_not_believed(server: Server, target: Path) -> None:
    resource = server.add("/f", BODY, cut(3000), lying_range('"v2"', len(BODY)))
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY and "Range" not in resource.requests[2]


def test_a_part_that_is_called_complete_too_early_is_not_believed(server: Server, target: Path) -> None:
    server.add("/f", BODY, cut(3000), lying_range('"v1"', 3000, code=416))
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY


def test_a_file_that_is_packed_on_its_way_is_refused(server: Server, target: Path) -> None:
    server.add("/f", BODY, status(200, Content_Encoding="gzip"))
    with pytest.raises(AurlError, match="sends it packed as 'gzip'"):
        fetch(server.url("/f"), target, policy=QUICK)
    assert list(target.parent.iterdir()) == []


def test_a_part_longer_than_the_new_file_is_thrown_away(server: Server, target: Path) -> None:
    server.add("/f", BODY, cut(9000), changed(BODY[:5000], '"v1"'))
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY[:5000]


def test_a_wrong_checksum_publishes_nothing(server: Server, target: Path) -> None:
    server.add("/f", OTHER)
    with pytest.raises(AurlError, match=r"its sha256 is \w+, not \w+; what arrived was thrown away"):
        fetch(server.url("/f"), target, checksums=SHA)
    assert list(target.parent.iterdir()) == []


def test_a_file_of_another_size_than_expected_is_refused_before_it_is_loaded(server: Server, target: Path) -> None:
    server.add("/f", BODY)
    with pytest.raises(AurlError, match="has 10240 bytes, not 99; it is not the one expected"):
        fetch(server.url("/f"), target, size=99)
    assert list(target.parent.iterdir()) == []


def test_a_server_that_says_no_length_is_held_to_the_expected_size(server: Server, target: Path) -> None:
    server.add("/f", BODY, length=-1)
    fetch(server.url("/f"), target, size=len(BODY))
    server.add("/g", BODY[:-1], length=-1, etag=None)
    with pytest.raises(AurlError, match="ended after 10239 of 10240 bytes, 4 times"):
        fetch(server.url("/g"), target.with_name("g"), size=len(BODY), policy=QUICK)
    server.add("/h", BODY + b"x", length=-1, etag=None)
    with pytest.raises(AurlError, match="sent more than 10240 bytes"):
        fetch(server.url("/h"), target.with_name("h"), size=len(BODY), policy=QUICK)


def test_a_length_that_lies_is_found_out(server: Server, target: Path) -> None:
    server.add("/f", BODY, length=len(BODY) + 5, ranges=False)
    with pytest.raises(AurlError, match="ended after 10240 of 10245 bytes"):
        fetch(server.url("/f"), target, policy=QUICK)
    assert not target.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [(404, "answers 404"), (410, "answers 410"), (403, r"refuses it \(403 .*may need a token"), (401, "refuses it")],
)
def test_a_final_answer_is_not_asked_for_twice(server: Server, target: Path, code: int, words: str) -> None:
    resource = server.add("/f", BODY, status(code))
    with pytest.raises(AurlError, match=words):
        fetch(server.url("/f"), target, policy=QUICK)
    assert len(resource.requests) == 1


def test_errors_that_pass_are_waited_for_as_long_as_the_server_asks(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(fetching.time, "sleep", waits.append)
    later = formatdate(fetching.time.time() + 30, usegmt=True)
    server.add("/f", BODY, status(500), status(429, Retry_After="7"), status(503, Retry_After=later), status(502))
    fetch(server.url("/f"), target, policy=FetchPolicy(tries=5, longest_wait_seconds=20.0))
    assert waits == [1.0, 7.0, 20.0, 8.0]


def test_a_silent_server_and_a_trickle_are_given_up_and_tried_again(server: Server, target: Path) -> None:
    server.add("/f", BODY, silent(0.8))
    fetch(server.url("/f"), target, policy=QUICK)
    assert target.read_bytes() == BODY
    slow = server.add("/g", BODY, trickle(0.02))
    policy = FetchPolicy(timeout_seconds=5, first_wait_seconds=0.01, slowest_bytes_per_second=500.0, stall_seconds=0.2)
    fetch(server.url("/g"), target.with_name("g"), policy=policy)
    assert target.with_name("g").read_bytes() == BODY and len(slow.requests) == 2


def test_nobody_at_the_address_is_one_line(target: Path) -> None:
    with serving() as gone:
        url = gone.url("/f")
    with pytest.raises(AurlError, match=r"cannot be reached \(.*refused.*\), 2 times in a row"):
        fetch(url, target, policy=FetchPolicy(tries=2, first_wait_seconds=0.01))


def test_a_token_goes_to_the_host_and_its_redirects_but_to_no_other_host(server: Server, target: Path) -> None:
    server.add("/a", b"", redirect("/b"))
    same = server.add("/b", b"", redirect(server.url("/c", host="localhost")))
    other = server.add("/c", BODY)
    fetch(server.url("/a"), target, token="secret")
    assert target.read_bytes() == BODY
    assert server.resources["/a"].requests[0]["Authorization"] == "Bearer secret"
    assert same.requests[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in other.requests[0]


def test_a_token_is_not_sent_unencrypted_nor_written_into_errors(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AurlError, match="a token is only sent over https"):
        fetch("http://example.invalid/f", target, token="secret")
    server.add("/f", BODY, status(500), status(403))
    with pytest.raises(AurlError, match="the token is not accepted, or the terms are not") as caught:
        fetch(server.url("/f"), target, token="secret", policy=QUICK)
    assert "secret" not in str(caught.value) + caplog.text


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://example.invalid/f"])
def test_a_redirect_out_of_the_web_is_refused(server: Server, target: Path, place: str) -> None:
    server.add("/f", b"", redirect(place))
    with pytest.raises(AurlError, match=r"not safe|not allowed"):
        fetch(server.url("/f"), target)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://x/y", "no address", "http://"])
def test_only_web_addresses_are_loaded(target: Path, url: str) -> None:
    with pytest.raises(AurlError, match="not a web address"):
        fetch(url, target)


def test_endless_redirects_end(server: Server, target: Path) -> None:
    server.add("/f", b"", *[redirect("/f")] * 40)
    with pytest.raises(AurlError, match="/f: the server answers 302"):
        fetch(server.url("/f"), target, policy=QUICK)


def test_a_full_disk_is_told_before_loading(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    server.add("/f", BODY)
    with pytest.raises(AurlError, match="10,240 more bytes are needed and 1 are free"):
        fetch(server.url("/f"), target)


def test_a_folder_that_cannot_be_written_is_told(server: Server, target: Path) -> None:
    server.add("/f", BODY)
    target.with_name("file.bin.part").mkdir(parents=True)
    with pytest.raises((AurlError, OSError), match="part"):
        fetch(server.url("/f"), target, policy=QUICK)


def test_hashes_of_a_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(BODY)
    assert file_hashes(tmp_path / "f", ("sha256",)) == SHA
