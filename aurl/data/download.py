"""A corpus from its source to a folder that is complete or not there: load, check, unpack, publish.

``ROOT/.loading/NAME/`` holds what has been loaded (it stays when a download is cut, see fetch.py), and
``ROOT/.NAME.unpacking`` what is being unpacked (thrown away and begun anew after an interruption); the last step
renames it to ``ROOT/NAME``. Beside the music lies ``corpus.json``: source, licence, when and how it was accepted,
checksums. The licence is asked for by the command; here it must have been accepted.
"""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import os
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aurl.data.corpora import Corpus
from aurl.data.fetch import SPARE_BYTES, FetchPolicy, fetch, file_hashes
from aurl.data.unpack import UnpackLimits, is_archive, remove_folder, unpack, writable_name
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_json, sync_folder
from aurl.utils.logging import get_logger

log = get_logger(__name__)

RECORD = "corpus.json"
"""What was downloaded, and under which licence; aurl.data.metadata reads ``source`` and ``licence`` from it."""
DATA_VARIABLE, CACHE_VARIABLE, DEFAULT_CACHE = "AURL_DATA", "AURL_CACHE", "~/.cache/aurl"
UNPACKED_TO_PACKED = 3
"""MIDI archives unpack to about so many times their size: the space asked for before loading."""
PARQUET = ".parquet"
GIT_LINK_MODE = "120000"
"""How git writes that an entry is a symbolic link."""
GIT_SAFE = ("-c", "core.symlinks=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never")


@dataclass(frozen=True)
class Watch:
    """Who is told how far it is."""

    bytes: Callable[[int, int | None], None] = lambda have, total: None
    """Bytes loaded of the present file, and how many there will be."""
    files: Callable[[int], None] = lambda count: None
    """Files unpacked."""
    stage: Callable[[str], None] = lambda text: None
    """What begins now."""


def data_folder() -> Path:
    """Where corpora go: $AURL_DATA, else ``data`` below the cache ($AURL_CACHE, else ~/.cache/aurl)."""
    if os.environ.get(DATA_VARIABLE):
        return Path(os.environ[DATA_VARIABLE]).expanduser()
    return Path(os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE).expanduser() / "data"


def download(
    corpus: Corpus,
    root: Path,
    *,
    accepted: str,
    token: str | None = None,
    overwrite: bool = False,
    keep_archives: bool = False,
    policy: FetchPolicy | None = None,
    limits: UnpackLimits | None = None,
    watch: Watch | None = None,
) -> Path:
    """Bring a corpus to ``root/NAME``; one that is there already is left as it is.

    Args:
        corpus: what to load.
        root: folder of all corpora.
        accepted: how the licence was accepted, for the record; must not be empty.
        token: for the host of the corpus, if it asks for one.
        overwrite: replace a corpus that is there.
        keep_archives: leave what was loaded in ``root/.loading/NAME``.
        policy: how patient to be.
        limits: of unpacking.
        watch: is told how far it is.

    Returns:
        The folder of the corpus.

    Raises:
        AurlError: it cannot be had, is not what is expected, hostile, or the disk is full; ``root/NAME`` is then as it
            was before.
    """
    if not accepted:
        raise AurlError(f"{corpus.name}: its licence ({corpus.licence}) has not been accepted")
    if corpus.by_hand:
        raise AurlError(
            f"{corpus.name} cannot be loaded by a program ({corpus.gate or 'no address'}): see {corpus.page}"
        )
    final = root / corpus.name
    watch = watch or Watch()
    if os.path.lexists(final) and not overwrite:
        if (final / RECORD).is_file():
            return final
        raise AurlError(f"{final} is there already and was not downloaded; add --overwrite or choose another --output")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AurlError(f"cannot write {root}: {error.strerror or error}; choose another --output") from error
    hidden = root / f".{corpus.name}.unpacking"
    with _alone(root, corpus.name):
        remove_folder(hidden)
        try:
            if corpus.git:
                facts = _clone(corpus, hidden, watch)
            else:
                facts = _load_and_unpack(corpus, root, hidden, token, policy, limits, watch)
            atomic_write_json(hidden / RECORD, _record(corpus, accepted, facts))
            _publish(hidden, final)
        finally:
            remove_folder(hidden)
        if not keep_archives:
            remove_folder(_loading(root, corpus))
            with contextlib.suppress(OSError):  # other downloads are in it
                (root / ".loading").rmdir()
    return final


def _record(corpus: Corpus, accepted: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "source": corpus.name,
        "licence": corpus.licence,
        "licence_accepted": {"how": accepted, "when": now, "terms": corpus.gate or corpus.licence},
        "page": corpus.page,
        **facts,
    }


def _publish(hidden: Path, final: Path) -> None:
    """Give the complete folder its name; what had it before is removed after that."""
    old = final.with_name(f".{final.name}.replaced")
    remove_folder(old)
    if os.path.lexists(final):
        os.rename(final, old)
    os.rename(hidden, final)
    sync_folder(final.parent)
    remove_folder(old)


@contextlib.contextmanager
def _alone(root: Path, name: str) -> Iterator[None]:
    """Only one process at a time loads a corpus into a folder."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system: two downloads at once then spoil each other's work
        yield
        return
    path = root / f".{name}.lock"
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise AurlError(f"{name} is being downloaded into {root} by another process; wait for it") from error
        if _is_at(file, path):
            break
        file.close()  # another process finished and removed the file between opening and locking it
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one that now has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


# --- files ------------------------------------------------------------------------------------------------------------


def _loading(root: Path, corpus: Corpus) -> Path:
    return root / ".loading" / corpus.name


def _load_and_unpack(
    corpus: Corpus,
    root: Path,
    hidden: Path,
    token: str | None,
    policy: FetchPolicy | None,
    limits: UnpackLimits | None,
    watch: Watch,
) -> dict[str, Any]:
    folder = _loading(root, corpus)
    known = corpus.bytes or corpus.download_bytes
    if known and not corpus.keep:
        _check_space(root, known * (1 + UNPACKED_TO_PACKED))
    paths = []
    for url, name in zip(corpus.urls, _file_names(corpus.urls), strict=True):
        watch.stage(f"loading {name}")
        target = folder / name
        fetch(
            url, target, size=corpus.bytes, checksums=corpus.checksums, token=token, policy=policy, progress=watch.bytes
        )
        paths.append(target)
    facts: list[dict[str, Any]] = []
    hidden.mkdir()
    for url, path in zip(corpus.urls, paths, strict=True):
        watch.stage(f"unpacking {path.name}")
        facts.append({"url": url, "bytes": path.stat().st_size, "sha256": file_hashes(path, ("sha256",))["sha256"]})
        facts[-1] |= _unpack_one(path, hidden, corpus, limits, watch)
    return {"files": facts}


def _unpack_one(path: Path, hidden: Path, corpus: Corpus, limits: UnpackLimits | None, watch: Watch) -> dict[str, Any]:
    if path.name.lower().endswith(PARQUET):
        from aurl.data.parquet_rows import unpack_parquet

        return {"unpacked": unpack_parquet(path, hidden / path.stem, watch.files)}
    if is_archive(path.name):
        report = unpack(path, hidden, limits, corpus.keep, watch.files)
        if report.files == 0:
            raise AurlError(f"{path}: no files in it that are wanted ({', '.join(corpus.keep) or 'any'})")
        if report.mended:
            log.warning("%s: %s", path.name, ", ".join(f"{kind} {n}" for kind, n in sorted(report.mended.items())))
        return {"unpacked": report.files, "mended": dict(report.mended)}
    shutil.copyfile(path, hidden / path.name)
    return {"unpacked": 1}


def _file_names(urls: Sequence[str]) -> list[str]:
    """The last part of each address as a file name; of equal ones all but the first begin with a number."""
    names: list[str] = []
    for number, url in enumerate(urls, start=1):
        last = writable_name(urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2])
        name = last if last not in ("", ".", "..") else "download"
        names.append(f"{number}-{name}" if name in names else name)
    return names


def _check_space(root: Path, wanted: int) -> None:
    free = shutil.disk_usage(root).free
    if wanted + SPARE_BYTES > free:
        raise AurlError(
            f"{root}: about {wanted:,} bytes are needed to load and unpack, {free:,} are free; free space or choose "
            "another --output"
        )


# --- repositories -----------------------------------------------------------------------------------------------------


def _clone(corpus: Corpus, hidden: Path, watch: Watch) -> dict[str, Any]:
    """The files of one commit, without history."""
    if shutil.which("git") is None:
        raise AurlError(f"{corpus.name} comes from a git repository and git is not installed; install git")
    watch.stage(f"cloning {corpus.git}")
    hidden.mkdir()
    _git(corpus, hidden, "init", "--quiet")
    _git(corpus, hidden, "fetch", "--quiet", "--depth", "1", "--no-tags", "--", corpus.git, corpus.commit or "HEAD")
    _git(corpus, hidden, "checkout", "--quiet", "--detach", "FETCH_HEAD")
    commit = _git(corpus, hidden, "rev-parse", "HEAD").strip()
    if corpus.commit and commit != corpus.commit:
        raise AurlError(f"{corpus.git}: got commit {commit}, not {corpus.commit}")
    for line in _git(corpus, hidden, "ls-files", "--stage", "-z").split("\0"):
        facts, _, name = line.partition("\t")
        if facts.startswith(GIT_LINK_MODE):  # written as a file that holds the place it points to
            (hidden / name).unlink(missing_ok=True)
    remove_folder(hidden / ".git")
    count = 0
    for path in sorted(path for path in hidden.rglob("*") if path.is_file()):
        if corpus.keep and not any(fnmatch.fnmatch(path.name.lower(), pattern) for pattern in corpus.keep):
            path.unlink()
        else:
            count += 1
    watch.files(count)
    if count == 0:
        raise AurlError(f"{corpus.git}: no files in it that are wanted ({', '.join(corpus.keep) or 'any'})")
    return {"git": corpus.git, "commit": commit, "unpacked": count}


def _git(corpus: Corpus, folder: Path, *arguments: str) -> str:
    """Run git without asking anybody anything."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *GIT_SAFE, *arguments],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise AurlError(f"{corpus.git}: git {arguments[0]} failed ({lines[-1] if lines else 'no reason given'})")
    return done.stdout
