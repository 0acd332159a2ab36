"""Archives from strangers, unpacked so that they can only make files below one folder, and not too many.

Refused as a whole, before the entry in question is written: names that lead out of the folder, links that do, device
files and pipes, encrypted entries, and more files, bytes or folders in folders than the limits allow. What is counted
is what really comes out, not what the archive claims. Harmless oddities are mended and counted: names that are not
UTF-8, that occur twice or differ only in case; links inside the folder (symbolic ones are left out, hard ones copied).
Archives inside the archive stay as they are.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import lzma
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Self

from aurl.utils.errors import AurlError

CHUNK_BYTES = 1 << 18
LONGEST_NAME_BYTES, KEPT_NAME_BYTES = 255, 180
ENCRYPTED_FLAG, UTF8_FLAG = 0x1, 0x800
UNIX = 3
"""System that a zip entry says it was made on."""
LONGEST_LINK_BYTES = 4096
"""Of the place that a symbolic link points to, as on Linux."""
LONGEST_HEADER_BYTES = 1 << 20
"""Long names and extended headers of a tar archive, which its reader takes into memory whole."""
HEADERS = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
)
PACKED_SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")
_DRIVE = re.compile(r"^[A-Za-z]:")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
BROKEN = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    UnicodeDecodeError,
    NotImplementedError,
)


@dataclass(frozen=True)
class UnpackLimits:
    """What is refused for its size."""

    entries: int = 5_000_000
    bytes: int = 500_000_000_000
    ratio: float = 200.0
    """Bytes that come out for each byte of the archive; counted from ``ratio_from_bytes`` on."""
    ratio_from_bytes: int = 100_000_000
    depth: int = 32
    """Folders in folders."""


@dataclass
class UnpackReport:
    """What was unpacked."""

    files: int = 0
    bytes: int = 0
    mended: Counter[str] = field(default_factory=Counter)
    """Oddities by kind: renamed, symbolic_links, hard_links, left_out."""


@dataclass(frozen=True)
class _Entry:
    """One entry of an archive of either kind."""

    name: str
    kind: str
    """file, folder, symbolic, hard or special."""
    link: str = ""
    open: Callable[[], IO[bytes] | None] = lambda: None


def is_archive(name: str) -> bool:
    """Whether a file name is that of an archive that can be unpacked."""
    return name.lower().endswith(PACKED_SUFFIXES)


def unpack(
    archive: Path,
    target: Path,
    limits: UnpackLimits | None = None,
    keep: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> UnpackReport:
    """Unpack a zip or tar archive.

    Args:
        archive: the file; what it is, is seen from its content.
        target: an empty folder, or one to be made.
        limits: what is refused for its size.
        keep: patterns of names to unpack, such as ``*.mid``; empty is everything.
        progress: is told how many files there are so far.

    Raises:
        AurlError: hostile, broken or too large; what was written until then lies in ``target``.
    """
    return _Unpacking(archive, target, limits or UnpackLimits(), keep, progress).run()


class _Unpacking:
    """One run over one archive."""

    def __init__(
        self,
        archive: Path,
        target: Path,
        limits: UnpackLimits,
        keep: Sequence[str],
        progress: Callable[[int], None] | None,
    ) -> None:
        self.archive, self.target, self.limits, self.keep, self.progress = archive, target, limits, keep, progress
        self.report = UnpackReport()
        self.size = archive.stat().st_size
        self.taken: set[str] = set()
        self.folders: set[str] = set()
        self.written: dict[str, Path] = {}
        """Archive name to file, for hard links."""

    def run(self) -> UnpackReport:
        self.target.mkdir(parents=True, exist_ok=True)
        try:
            if zipfile.is_zipfile(self.archive):
                with zipfile.ZipFile(self.archive) as packed:
                    self._take_all(_zip_entries(packed, self._refuse))
            else:
                with self._tape() as tape:
                    self._take_all(_tar_entries(tape))
                    self._read_out(tape)
        except BROKEN as error:
            raise AurlError(f"{self.archive}: the archive is broken ({error or type(error).__name__})") from error
        except OSError as error:
            raise AurlError(f"{self.archive}: cannot be unpacked ({error.strerror or error})") from error
        return self.report

    def _tape(self) -> tarfile.TarFile:
        try:
            return tarfile.open(self.archive, encoding="utf-8", errors="surrogateescape", tarinfo=_Member)
        except tarfile.ReadError as error:
            raise AurlError(f"{self.archive}: neither a zip nor a tar archive") from error

    def _read_out(self, tape: tarfile.TarFile) -> None:
        """Read to the end of the file: the tar reader takes a damaged header for the end, a checksum does not."""
        left = self.limits.ratio_from_bytes + int(self.limits.ratio * self.size)
        while tape.fileobj is not None and (block := tape.fileobj.read(CHUNK_BYTES)):
            left -= len(block)
            if left < 0:
                raise AurlError(f"{self.archive}: too much follows its last entry; the archive is not unpacked")

    def _refuse(self, name: str, reason: str) -> AurlError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        return AurlError(f"{self.archive}: the entry {shown!r} {reason}; the archive is not unpacked")

    def _take_all(self, entries: Iterator[_Entry]) -> None:
        for count, entry in enumerate(entries, start=1):
            if count > self.limits.entries:
                raise AurlError(f"{self.archive}: more than {self.limits.entries} entries; the archive is not unpacked")
            self._take(entry)

    def _take(self, entry: _Entry) -> None:
        parts = self._parts(entry.name)
        if entry.kind == "special":
            raise self._refuse(entry.name, "is a device or a pipe")
        if entry.kind in ("symbolic", "hard"):
            self._take_link(entry, parts)
            return
        if entry.kind == "folder" or not parts:
            return  # folders are made for the files in them
        if self.keep and not any(fnmatch.fnmatch(parts[-1].lower(), pattern) for pattern in self.keep):
            self.report.mended["left_out"] += 1
            return
        path = self._free_path(entry.name, parts)
        with entry.open() or self._no_content(entry.name) as source, path.open("xb") as file:
            self._copy(source, file, entry.name)
        self._done(entry.name, path)

    def _no_content(self, name: str) -> IO[bytes]:
        raise self._refuse(name, "has no content")

    def _take_link(self, entry: _Entry, parts: list[str]) -> None:
        """A hard link becomes a copy, a symbolic one is left out; both must stay inside."""
        base = "/".join(parts[:-1]) if entry.kind == "symbolic" else ""
        inside: list[str] = [] if entry.link.startswith(("/", "\\")) else [part for part in base.split("/") if part]
        if entry.link.startswith(("/", "\\")) or _DRIVE.match(entry.link):
            raise self._refuse(entry.name, f"is a link to {entry.link!r}, outside the folder")
        for part in entry.link.replace("\\", "/").split("/"):
            if part == "..":
                if not inside:
                    raise self._refuse(entry.name, f"is a link to {entry.link!r}, outside the folder")
                inside.pop()
            elif part not in ("", "."):
                inside.append(part)
        if entry.kind == "symbolic":
            self.report.mended["symbolic_links"] += 1
            return
        original = self.written.get("/".join(inside))
        if original is None:
            self.report.mended["left_out"] += 1
            return
        path = self._free_path(entry.name, parts)
        with original.open("rb") as source, path.open("xb") as file:
            self._copy(source, file, entry.name)
        self.report.mended["hard_links"] += 1
        self._done(entry.name, path)

    def _done(self, name: str, path: Path) -> None:
        self.written["/".join(self._parts(name))] = path
        self.report.files += 1
        if self.progress is not None:
            self.progress(self.report.files)

    def _copy(self, source: IO[bytes], file: IO[bytes], name: str) -> None:
        while block := source.read(CHUNK_BYTES):
            self.report.bytes += len(block)
            found, limits = self.report.bytes, self.limits
            if found > limits.bytes:
                raise self._refuse(name, f"brings it to more than {limits.bytes} bytes")
            if found > limits.ratio_from_bytes and found > limits.ratio * self.size:
                raise self._refuse(name, f"makes it unpack to more than {limits.ratio:g} times its size")
            file.write(block)

    # --- names --------------------------------------------------------------------------------------------------------

    def _parts(self, name: str) -> list[str]:
        """The folders and the name of an entry, all harmless."""
        plain = name.replace("\\", "/")
        if plain.startswith("/") or _DRIVE.match(plain):
            raise self._refuse(name, "has an absolute path")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._refuse(name, "leads out of the folder")
        if len(parts) > self.limits.depth:
            raise self._refuse(name, f"lies more than {self.limits.depth} folders deep")
        return [writable_name(part) for part in parts]

    def _free_path(self, name: str, parts: list[str]) -> Path:
        """A path that no other entry has, not even in other letters' case; its folders are made."""
        for depth in range(1, len(parts)):
            folder = _folded("/".join(parts[:depth]))
            if folder in self.taken:
                raise self._refuse(name, "needs a folder where a file is")
            self.folders.add(folder)
        if _folded("/".join(parts)) in self.folders:
            raise self._refuse(name, "is a file where a folder is")
        stem, number = PurePosixPath(parts[-1]), 2
        final = parts[-1]
        place = self.target.joinpath(*parts[:-1])  # may hold files of another archive of the same corpus
        while _folded("/".join([*parts[:-1], final])) in self.taken or (place / final).exists():
            final = f"{stem.stem}-{number}{stem.suffix}"
            number += 1
        relative = "/".join([*parts[:-1], final])
        self.taken.add(_folded(relative))
        if relative != name.removeprefix("./"):
            self.report.mended["renamed"] += 1
        place.mkdir(parents=True, exist_ok=True)
        return place / final


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def writable_name(part: str) -> str:
    """A name that every file system and UTF-8 can hold."""
    try:
        part.encode("utf-8")
    except UnicodeEncodeError:
        part = part.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    part = _UNPRINTABLE.sub("_", part)
    data = part.encode("utf-8")
    if len(data) > LONGEST_NAME_BYTES:
        suffix = PurePosixPath(part).suffix[:10]
        digest = hashlib.sha256(data).hexdigest()[:8]
        part = f"{data[:KEPT_NAME_BYTES].decode('utf-8', 'ignore')}-{digest}{suffix}"
    return part


# --- the two kinds of archive -----------------------------------------------------------------------------------------


def _zip_entries(packed: zipfile.ZipFile, refuse: Callable[[str, str], AurlError]) -> Iterator[_Entry]:
    for info in packed.infolist():
        name = info.filename
        if not info.flag_bits & UTF8_FLAG:  # then it was read as cp437, although many programs write UTF-8
            try:
                name = name.encode("cp437").decode("utf-8")
            except UnicodeError:
                name = info.filename
        if info.flag_bits & ENCRYPTED_FLAG:
            raise refuse(name, "is encrypted")
        mode = info.external_attr >> 16 if info.create_system == UNIX else 0
        if info.is_dir():
            yield _Entry(name, "folder")
        elif stat.S_ISLNK(mode):
            with packed.open(info) as content:
                link = content.read(LONGEST_LINK_BYTES + 1)  # no more: what comes out may be a bomb
            if len(link) > LONGEST_LINK_BYTES:
                raise refuse(name, "is a link longer than any path")
            yield _Entry(name, "symbolic", link.decode("utf-8", "replace"))
        elif mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            yield _Entry(name, "special")
        else:
            yield _Entry(name, "file", open=partial(packed.open, info))


class _Member(tarfile.TarInfo):
    """A header that must not be a bomb."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header in a block (called by tarfile, which reads the content of long headers whole afterwards)."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in HEADERS and member.size > LONGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member


def _tar_entries(tape: tarfile.TarFile) -> Iterator[_Entry]:
    for member in tape:
        if member.isdir() or member.name.endswith("/"):
            yield _Entry(member.name, "folder")
        elif member.issym():
            yield _Entry(member.name, "symbolic", member.linkname)
        elif member.islnk():
            yield _Entry(member.name, "hard", member.linkname)
        elif member.isreg():
            yield _Entry(member.name, "file", open=partial(tape.extractfile, member))
        else:
            yield _Entry(member.name, "special")
        vars(tape)["members"] = []  # else the list of all entries stays in memory


def remove_folder(folder: Path) -> None:
    """Remove a folder and all below it, if it is there."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
