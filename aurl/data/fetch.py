"""One file from a web server to the disk: continued where it was cut, checked, and never half there under its name.

What has arrived lies in ``NAME.part``, and ``NAME.part.json`` says of which version of the file it is (ETag or
Last-Modified). The name itself appears when size and checksum are right. Which files, where to and under which licence
is download.py; this is HTTP only. It uses the standard library: all that is needed is one GET with headers of our own
and control over redirects, and no HTTP package is a direct dependency of aurl.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_json, sync_folder
from aurl.utils.logging import get_logger

log = get_logger(__name__)

CHUNK_BYTES = 1 << 18
SPARE_BYTES = 64 << 20
"""Space that must be left on the disk."""
WORTH_BYTES = 1 << 20
"""An attempt that brought so much does not count as a failed one."""
PARTIAL, RANGE_NOT_SATISFIABLE = 206, 416
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which it is worth trying again."""
REFUSED = frozenset({401, 403})
IDENTITY = "identity"
"""Content coding of a file that is sent as it is."""
HASHES = ("sha256", "md5")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
Progress = Callable[[int, int | None], None]
"""Is told how many bytes are there, and how many there will be (None: not known)."""


@dataclass(frozen=True)
class FetchPolicy:
    """How patient a download is."""

    timeout_seconds: float = 30.0
    """A connection without a byte for so long is given up."""
    tries: int = 6
    """Failed attempts in a row after which the download is given up; what has arrived stays."""
    first_wait_seconds: float = 1.0
    """Pause after the first failed attempt; it doubles with each further one."""
    longest_wait_seconds: float = 60.0
    """No pause is longer, whatever the server asks for."""
    slowest_bytes_per_second: float = 200.0
    """A connection that is slower than this for ``stall_seconds`` is given up and tried again."""
    stall_seconds: float = 60.0


class _Temporary(Exception):
    """An attempt that failed; another may succeed."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects stay on the web, never fall back from https to http, and take the token to no other host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows a redirect (called by urllib)."""
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
            raise AurlError(f"{req.full_url}: the server redirects to {newurl}, which is not safe; nothing was loaded")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            following.remove_header("Authorization")
        return following


def open_url(url: str, headers: Mapping[str, str], token: str | None, timeout: float) -> Any:
    """Open an address; the token goes to the host of ``url`` and to no other.

    Raises:
        AurlError: the address is not on the web, or a token would be sent unencrypted.
        OSError: what urllib raises (its errors are OSErrors).
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AurlError(f"{url}: not a web address; it must begin with https:// or http://")
    request = urllib.request.Request(url, headers={"User-Agent": "aurl-data", "Accept-Encoding": IDENTITY, **headers})
    if token:
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise AurlError(f"{url}: a token is only sent over https")
        request.add_header("Authorization", f"Bearer {token}")
    return urllib.request.build_opener(_SafeRedirects).open(request, timeout=timeout)


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    checksums: Mapping[str, str] | None = None,
    token: str | None = None,
    policy: FetchPolicy | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download a file, continuing an earlier attempt where that is safe.

    Args:
        url: http or https address.
        target: where the file goes; a file that is there already and has the right checksum is not loaded again.
        size: bytes the file must have.
        checksums: ``sha256`` and ``md5`` in hexadecimal; all that are given must be right.
        token: sent to the host of ``url`` only.
        policy: patience.
        progress: is told how far it is.

    Returns:
        ``target``.

    Raises:
        AurlError: the file cannot be had, is not the one expected, or the disk is full. What has arrived stays for the
            next call, unless it is wrong.
    """
    return _Fetch(url, target, size, dict(checksums or {}), token, policy or FetchPolicy(), progress).run()


class _Fetch:
    """One call of fetch."""

    def __init__(
        self,
        url: str,
        target: Path,
        size: int | None,
        checksums: dict[str, str],
        token: str | None,
        policy: FetchPolicy,
        progress: Progress | None,
    ) -> None:
        self.url, self.target, self.size, self.checksums = url, target, size, checksums
        self.token, self.policy, self.progress = token, policy, progress
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.continued = False
        """Whether the part holds bytes of more than one attempt."""

    def run(self) -> Path:
        if self.target.exists() and self.checksums and self._mismatch(self.target) is None:
            return self.target
        self.target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._load()
            problem = self._mismatch(self.part)
            if problem is None:
                break
            self._forget()
            if not self.continued:
                raise AurlError(f"{self.url}: {problem}; what arrived was thrown away")
            log.warning("%s: %s after it was continued; starting over", self.url, problem)
            self.continued = False
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.part, self.target)
        sync_folder(self.target.parent)
        self._forget()
        return self.target

    def _load(self) -> None:
        """Attempts until all bytes are there."""
        failed = 0
        while True:
            before = self._arrived()
            try:
                return self._attempt(before)
            except _Temporary as error:
                failed = 0 if self._arrived() - before >= WORTH_BYTES else failed + 1
                if failed >= self.policy.tries:
                    raise AurlError(
                        f"{self.url}: {error}, {failed} times in a row; run the same command again to go on from there"
                    ) from error
                wait = self.policy.first_wait_seconds * 2 ** max(failed - 1, 0)
                wait = min(max(wait, error.wait_seconds or 0), self.policy.longest_wait_seconds)
                log.info("%s: %s; trying again in %.0f s", self.url, error, wait)
                time.sleep(wait)

    def _attempt(self, have: int) -> None:
        known = self._known_version()
        headers = {}
        if have and (known.get("validator") or (self.checksums and known)):
            headers["Range"] = f"bytes={have}-"
            if known.get("validator"):
                headers["If-Range"] = str(known["validator"])
        else:
            have = 0
        try:
            response = open_url(self.url, headers, self.token, self.policy.timeout_seconds)
        except urllib.error.HTTPError as error:
            with error:
                self._judge(error, have, known)
            return
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise AurlError(
                    f"{self.url}: the server's certificate cannot be trusted ({reason.verify_message})"
                ) from error
            raise _Temporary(f"cannot be reached ({_words(reason)})") from error
        with response:
            have, total = self._placed(response, have, known)
            self._receive(response, have, total)

    def _judge(self, error: urllib.error.HTTPError, have: int, known: Mapping[str, Any]) -> None:
        """What an HTTP error means; returns where the file is complete already."""
        if error.code == RANGE_NOT_SATISFIABLE:
            if have and _total_of(error.headers.get("Content-Range")) == have == (known.get("total") or have):
                self.continued = True
                return
            self._forget()
            raise _Temporary("the server's file has changed") from error
        if error.code in TEMPORARY:
            raise _Temporary(f"the server answers {error.code} {error.reason}", _retry_after(error.headers)) from error
        if error.code in REFUSED:
            help_ = "the token is not accepted, or the terms are not" if self.token else "it may need a token (--token)"
            raise AurlError(f"{self.url}: the server refuses it ({error.code} {error.reason}); {help_}") from error
        raise AurlError(f"{self.url}: the server answers {error.code} {error.reason}") from error

    def _placed(self, response: Any, have: int, known: Mapping[str, Any]) -> tuple[int, int | None]:
        """At which byte the response begins and how long the file is; notes the version."""
        headers = response.headers
        if (coding := (headers.get("Content-Encoding") or IDENTITY).strip().lower()) != IDENTITY:
            raise AurlError(f"{self.url}: the server sends it packed as {coding!r}, which was not asked for")
        length = headers.get("Content-Length")
        etag = headers.get("ETag") or ""
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        if response.status == PARTIAL:
            start = _start_of(headers.get("Content-Range"))
            total = _total_of(headers.get("Content-Range"))
            is_other = validator and known.get("validator") and validator != known["validator"]
            if start != have or is_other or (known.get("total") is not None and total not in (None, known["total"])):
                self._forget()
                raise _Temporary("the server continues another file")
            self.continued = True
        else:
            have, self.continued = 0, False
            total = int(length) if length is not None and length.isdecimal() else None
        if self.size is not None and total is not None and total != self.size:
            self._forget()
            raise AurlError(
                f"{self.url}: the server's file has {total} bytes, not {self.size}; it is not the one expected"
            )
        atomic_write_json(self.note, {"url": self.url, "validator": validator, "total": total})
        self._check_space((total or self.size or 0) - have)
        return have, total if total is not None else self.size

    def _receive(self, response: Any, have: int, total: int | None) -> None:
        began, counted = time.monotonic(), 0
        with self._opened(have) as file:
            while True:
                try:
                    block = response.read1(CHUNK_BYTES)
                except (OSError, http.client.HTTPException) as error:
                    raise _Temporary(f"the connection broke after {have} bytes ({_words(error)})") from error
                if not block:
                    break
                have, counted = have + len(block), counted + len(block)
                if total is not None and have > total:
                    file.close()
                    self._forget()
                    raise _Temporary(f"the server sent more than {total} bytes")
                self._write(file, block)
                if self.progress is not None:
                    self.progress(have, total)
                seconds = time.monotonic() - began
                if seconds > self.policy.stall_seconds:
                    if counted < self.policy.slowest_bytes_per_second * seconds:
                        raise _Temporary(f"only {counted} bytes came in {seconds:.0f} s")
                    began, counted = time.monotonic(), 0
        if total is not None and have < total:
            raise _Temporary(f"the connection ended after {have} of {total} bytes")

    def _opened(self, have: int) -> IO[bytes]:
        try:
            file = self.part.open("r+b" if have else "wb")
            file.seek(have)
            file.truncate()
        except OSError as error:
            raise AurlError(f"cannot write {self.part}: {error.strerror or error}") from error
        return file

    def _write(self, file: IO[bytes], block: bytes) -> None:
        try:
            file.write(block)
        except OSError as error:
            raise AurlError(
                f"cannot write {self.part}: {error.strerror or error}; free space and run it again"
            ) from error

    def _check_space(self, wanted: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if wanted + SPARE_BYTES > free:
            raise AurlError(
                f"{self.target.parent}: {wanted:,} more bytes are needed and {free:,} are free; "
                "free space or choose another --output"
            )

    def _arrived(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _known_version(self) -> dict[str, Any]:
        """Of which version of the file the part is; empty where that is not known."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) and note.get("url") == self.url else {}

    def _forget(self) -> None:
        """Throw away what has arrived."""
        for path in (self.part, self.note):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _mismatch(self, path: Path) -> str | None:
        """What is wrong with a complete file, or None."""
        found = path.stat().st_size
        if self.size is not None and found != self.size:
            return f"it has {found} bytes, not {self.size}"
        wanted = {name: self.checksums[name].lower() for name in HASHES if self.checksums.get(name)}
        for name, value in file_hashes(path, tuple(wanted)).items():
            if value != wanted[name]:
                return f"its {name} is {value}, not {wanted[name]}"
        return None


def file_hashes(path: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Checksums of a file in hexadecimal, read once.

    Args:
        path: the file.
        names: of ``sha256`` and ``md5``.
    """
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    if hashes:
        with path.open("rb") as file:
            while block := file.read(CHUNK_BYTES):
                for value in hashes.values():
                    value.update(block)
    return {name: value.hexdigest() for name, value in hashes.items()}


def _words(error: Any) -> str:
    return str(error) or type(error).__name__


def _total_of(content_range: str | None) -> int | None:
    """The whole length in ``bytes 5-9/10``."""
    last = (content_range or "").rpartition("/")[2]
    return int(last) if last.isdecimal() else None


def _start_of(content_range: str | None) -> int | None:
    """The first byte in ``bytes 5-9/10``."""
    first = (content_range or "").removeprefix("bytes ").partition("-")[0].strip()
    return int(first) if first.isdecimal() else None


def _retry_after(headers: Any) -> float | None:
    """How long the server asks to wait, in seconds."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    return None
