"""Archives from strangers: the hostile are refused as a whole, the odd are mended, and nothing leaves the folder."""

from __future__ import annotations

import io
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aurl.data.unpack import UnpackLimits, is_archive, unpack
from aurl.utils.errors import AurlError

SONG = b"MThd and so on"
Entries = list[tuple[str, bytes]]
NOTHING = UnpackLimits()


def make_zip(path: Path, entries: Entries) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in entries:
            packed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, entries: Entries, extra: Callable[[tarfile.TarFile], None] | None = None) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tape:
        for name, data in entries:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tape.addfile(member, io.BytesIO(data))
        if extra is not None:
            extra(tape)
    return path


def make(kind: str, folder: Path, entries: Entries) -> Path:
    folder.mkdir(exist_ok=True)
    return (make_zip if kind == "zip" else make_tar)(folder / f"a.{'zip' if kind == 'zip' else 'tar.gz'}", entries)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


kinds = pytest.mark.parametrize("kind", ["zip", "tar"])


@kinds
def test_files_come_out_as_they_went_in(tmp_path: Path, kind: str) -> None:
    counts: list[int] = []
    archive = make(kind, tmp_path / "in", [("a/b.mid", SONG), ("./c.mid", b""), ("Ä/ö.mid", SONG), ("a/", b"")])
    report = unpack(archive, tmp_path / "out", progress=counts.append)
    assert names_in(tmp_path / "out") == ["a/b.mid", "c.mid", "Ä/ö.mid"]
    assert (tmp_path / "out" / "a" / "b.mid").read_bytes() == SONG
    assert (report.files, report.bytes, dict(report.mended), counts) == (3, 2 * len(SONG), {}, [1, 2, 3])
    assert not (tmp_path / "out" / "a" / "b.mid").stat().st_mode & 0o111


@kinds
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../escaped.mid", "leads out of the folder"),
        ("a/../../escaped.mid", "leads out of the folder"),
        ("..\\escaped.mid", "leads out of the folder"),
        ("/tmp/escaped.mid", "has an absolute path"),
        ("\\\\host\\share\\a.mid", "has an absolute path"),
        ("C:\\escaped.mid", "has an absolute path"),
        ("/".join("a" * 40) + "/b.mid", "more than 32 folders deep"),
    ],
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, kind: str, name: str, reason: str) -> None:
    archive = make(kind, tmp_path / "in", [("good.mid", SONG), (name, SONG)])
    with pytest.raises(AurlError, match=f"{reason}.*; the archive is not unpacked"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("escaped.mid"))


def link(name: str, to: str, kind: bytes) -> Callable[[tarfile.TarFile], None]:
    def add(tape: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, to
        tape.addfile(member)

    return add


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["/etc/passwd", "../../outside", "C:/outside", "a/../../../outside"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, kind: bytes, to: str) -> None:
    archive = make_tar(
        tmp_path / "a.tar.gz", [("good.mid", SONG)], link("sub/link.mid" if kind == b"2" else "l", to, kind)
    )
    with pytest.raises(AurlError, match=r"is a link to .*, outside the folder"):
        unpack(archive, tmp_path / "out")


def test_links_inside_are_left_out_or_copied(tmp_path: Path) -> None:
    def links(tape: tarfile.TarFile) -> None:
        link("sub/soft.mid", "../good.mid", tarfile.SYMTYPE)(tape)
        link("sub/hard.mid", "good.mid", tarfile.LNKTYPE)(tape)
        link("sub/lost.mid", "nowhere.mid", tarfile.LNKTYPE)(tape)

    report = unpack(make_tar(tmp_path / "a.tar.gz", [("good.mid", SONG)], links), tmp_path / "out")
    assert names_in(tmp_path / "out") == ["good.mid", "sub/hard.mid"]
    assert dict(report.mended) == {"symbolic_links": 1, "hard_links": 1, "left_out": 1}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_writing_through_a_link_of_the_same_archive_is_impossible(tmp_path: Path) -> None:
    def attack(tape: tarfile.TarFile) -> None:
        link("door", ".", tarfile.SYMTYPE)(tape)
        member = tarfile.TarInfo("door/in.mid")
        member.size = len(SONG)
        tape.addfile(member, io.BytesIO(SONG))

    unpack(make_tar(tmp_path / "a.tar.gz", [], attack), tmp_path / "out")
    assert names_in(tmp_path / "out") == ["door/in.mid"] and not (tmp_path / "out" / "door").is_symlink()


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(AurlError, match="is a device or a pipe"):
        unpack(make_tar(tmp_path / "a.tar.gz", [], link("dev", "", kind)), tmp_path / "out")


@pytest.mark.parametrize(
    ("mode", "data", "reason"),
    [
        (stat.S_IFLNK, b"../../etc/passwd", "outside the folder"),
        (stat.S_IFCHR, b"", "is a device or a pipe"),
        (stat.S_IFIFO, b"", "is a device or a pipe"),
    ],
)
def test_links_and_devices_in_a_zip_are_refused_too(tmp_path: Path, mode: int, data: bytes, reason: str) -> None:
    info = zipfile.ZipInfo("odd.mid")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, data)
    with pytest.raises(AurlError, match=reason):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@kinds
def test_a_bomb_is_stopped_by_what_comes_out(tmp_path: Path, kind: str) -> None:
    archive = make(kind, tmp_path / "in", [("zeros.mid", bytes(3_000_000))])
    with pytest.raises(AurlError, match="unpack to more than 50 times its size"):
        unpack(archive, tmp_path / "out", UnpackLimits(ratio=50, ratio_from_bytes=1_000_000))
    with pytest.raises(AurlError, match="to more than 2000000 bytes"):
        unpack(archive, tmp_path / "out2", UnpackLimits(bytes=2_000_000))
    written = sum(path.stat().st_size for path in tmp_path.glob("out*/*"))
    assert written <= 3_000_000


def test_a_size_that_lies_does_not_help_a_bomb(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("zeros.mid", bytes(3_000_000))])
    data = archive.read_bytes()
    archive.write_bytes(data.replace((3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(AurlError, match=r"broken|more than"):
        unpack(archive, tmp_path / "out", UnpackLimits(bytes=1_000_000))


def test_a_link_in_a_zip_is_not_read_into_memory_whole(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("odd.mid")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(info, b"a/" * 20_000_000, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(AurlError, match="is a link longer than any path"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_long_header_in_a_tar_is_not_read_into_memory_whole(tmp_path: Path, first: bool, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.GNU_FORMAT) as tape:
        if not first:
            tape.addfile(tarfile.TarInfo("a.mid"))
        head = tarfile.TarInfo("././@LongLink")
        head.type, head.size = kind, 40_000_000
        tape.addfile(head, io.BytesIO(bytes(head.size)))
        tape.addfile(tarfile.TarInfo("b.mid"))
    tracemalloc.start()
    with pytest.raises(AurlError, match="neither a zip nor a tar" if first else "broken .a header of 40000000 bytes"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@kinds
def test_two_archives_in_one_folder_do_not_overwrite_each_other(tmp_path: Path, kind: str) -> None:
    for number in (b"1", b"2"):
        report = unpack(make(kind, tmp_path / f"in{number}", [("a/licence.txt", number)]), tmp_path / "out")
    assert names_in(tmp_path / "out") == ["a/licence-2.txt", "a/licence.txt"] and report.mended == {"renamed": 1}


@kinds
def test_too_many_entries_are_refused(tmp_path: Path, kind: str) -> None:
    archive = make(kind, tmp_path / "in", [(f"{n}.mid", b"") for n in range(20)])
    with pytest.raises(AurlError, match="more than 10 entries"):
        unpack(archive, tmp_path / "out", UnpackLimits(entries=10))


@kinds
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_the_same_but_for_case_or_accents_do_not_overwrite(tmp_path: Path, kind: str) -> None:
    same = [("a.mid", b"1"), ("a.mid", b"2"), ("A.MID", b"3"), ("é.mid", b"4"), ("é.mid", b"5")]
    report = unpack(make(kind, tmp_path / "in", same), tmp_path / "out")
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4", b"5"] and found["a-2.mid"] == b"2"
    assert report.mended == {"renamed": 3}


@kinds
@pytest.mark.parametrize("order", [1, -1])
def test_a_name_that_is_both_file_and_folder_is_refused(tmp_path: Path, kind: str, order: int) -> None:
    archive = make(kind, tmp_path / "in", [("a", b"1"), ("A/b.mid", b"2")][::order])
    with pytest.raises(AurlError, match=r"needs a folder where a file is|is a file where a folder is"):
        unpack(archive, tmp_path / "out")


def test_names_that_are_not_utf8_or_too_long_become_names_that_can_be_written(tmp_path: Path) -> None:
    latin = b"Faur\xe9.mid".decode("utf-8", "surrogateescape")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tape:
        for name in (latin, "x" * 300 + ".mid", "bell\x07.mid"):
            tape.addfile(tarfile.TarInfo(name))
    report = unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    names = names_in(tmp_path / "out")
    assert {"Fauré.mid", "bell_.mid"} < set(names) and report.mended == {"renamed": 3}
    assert all(len(name.encode()) <= 255 for name in names) and all(name.endswith(".mid") for name in names)


def test_zip_names_in_utf8_without_the_flag_and_in_the_old_code_page_are_read(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("xxxx.mid", SONG), ("yyy.mid", SONG)])
    data = path.read_bytes().replace(b"xxxx", "éä".encode()).replace(b"yyy", "éäö".encode("cp437"))
    path.write_bytes(data)
    unpack(path, tmp_path / "out")
    assert names_in(tmp_path / "out") == ["éä.mid", "éäö.mid"]


def test_only_what_is_wanted_is_kept(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", [("a/x.MID", SONG), ("a/x.flac", SONG)])
    report = unpack(archive, tmp_path / "out", keep=["*.mid"])
    assert names_in(tmp_path / "out") == ["a/x.MID"] and report.mended == {"left_out": 1}


def test_archives_in_archives_stay_as_they_are(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", [("a.mid", SONG)])
    unpack(make_zip(tmp_path / "a.zip", [("inner.zip", inner.read_bytes())]), tmp_path / "out")
    assert names_in(tmp_path / "out") == ["inner.zip"]


@kinds
def test_a_cut_or_damaged_archive_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    entries = [(f"{n}.mid", bytes(range(256)) * 40) for n in range(20)]
    archive = make(kind, tmp_path / "in", entries)
    whole = archive.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for data in (whole[: len(whole) // 2], bytes(damaged), b"", b"<html>not found</html>"):
        archive.write_bytes(data)
        with pytest.raises(AurlError, match=r"the archive is broken|neither a zip nor a tar archive"):
            unpack(archive, tmp_path / "out" / str(len(data)))


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a.mid", SONG)])
    data = bytearray(archive.read_bytes())
    for head, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(head) + at] |= 1
    archive.write_bytes(bytes(data))
    with pytest.raises(AurlError, match="is encrypted"):
        unpack(archive, tmp_path / "out")


def test_a_full_or_locked_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file is here")
    with pytest.raises((AurlError, FileExistsError), match="out"):
        unpack(make_zip(tmp_path / "a.zip", [("a.mid", SONG)]), tmp_path / "out")


def test_archives_are_known_by_their_names() -> None:
    assert [is_archive(name) for name in ("A.ZIP", "a.tar.gz", "a.tgz", "a.mid")] == [True, True, True, False]
