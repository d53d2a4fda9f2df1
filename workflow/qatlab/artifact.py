"""Artifacts: folders named after what made them, written aside and renamed when complete."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qatlab.machine.disk import full

HASH_DIGITS = 12
UNITS = ("bytes", "kB", "MB", "GB", "TB")
LONGEST_SLUG = 160  # file systems take 255 bytes, of which a hash and what stands around it need some


def canonical_json(value: Any) -> str:
    """The same text for the same builtin values, whatever the order of dictionary keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity(slug: str, content: Any) -> str:
    """`<slug>-<hash>`: words for people, a SHA-256 prefix of the content for identity."""
    words = re.sub(r"[^a-z0-9_.]+", "-", slug.lower()).strip("-.")[:LONGEST_SLUG] or "unnamed"
    return f"{words}-{hashlib.sha256(canonical_json(content).encode()).hexdigest()[:HASH_DIGITS]}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative file names and contents, links followed."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in files_below(path):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
    else:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """All files of a folder, sorted; of linked folders too, but none of a folder that holds the link itself."""
    found, holders = [], {folder: {folder.resolve()}}
    for place, below, names in os.walk(folder, followlinks=True):
        at = Path(place)
        found += [at / name for name in names if (at / name).is_file()]
        real = {name: (at / name).resolve() for name in below}
        below[:] = [name for name in below if real[name] not in holders[at]]
        holders |= {at / name: {*holders[at], real[name]} for name in below}
    return sorted(found)


def folder_bytes(folder: Path) -> int:
    """Sum of the sizes of all files below a folder, in bytes."""
    return sum(file.stat().st_size for file in files_below(folder))


def readable_bytes(size: float) -> str:
    """A number of bytes for people: 512 bytes, 45.4 MB."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def write_json(path: Path, value: Any) -> None:
    """Readable JSON with a trailing newline and sorted keys."""
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def scratch_folder(output: Path) -> Path:
    """Where `output` is written until it is complete."""
    return output.with_name(f".{output.name}.partial")


def checkpoint_folder(output: Path) -> Path:
    """Of a stage that can go on from where it was killed: it survives a new try, and goes when `output` is complete.

    Args:
        output: the artifact's folder, or its scratch folder.
    """
    name = output.name.removeprefix(".").removesuffix(".partial")
    return output.with_name(f".{name}.checkpoints")


@contextmanager
def written_aside(output: Path, beside: str | None = None) -> Iterator[Path]:
    """A scratch folder beside `output` that becomes `output` only if the block ends without an error.

    With `beside`, the name of one of several jobs that write into `output`, what the block wrote replaces entries of the same
    name in `output`, and other entries stay.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = output.with_name(f".{output.name}.{beside}.partial") if beside else scratch_folder(output)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        for entry in (scratch, *scratch.rglob("*")):
            if not entry.is_symlink():
                sync(entry)
    except BaseException as error:
        no_space = full(error, scratch)  # asked before the scratch folder makes room
        shutil.rmtree(scratch, ignore_errors=True)
        if no_space:
            raise no_space from error
        raise
    if beside:
        output.mkdir(exist_ok=True)
        for entry in sorted(scratch.iterdir()):
            _replace(entry, output / entry.name)
        scratch.rmdir()
    else:
        _replace(scratch, output)
    sync(output.parent)


@contextmanager
def alone(output: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds an artifact's lock, so that it has one maker at a time; `waiting` is called where another holds it.

    A workflow that was killed may leave jobs behind that go on, and the workflow started after it makes the same artifacts. The
    lock is the operating system's: it ends with its process, however that ends. Where the file system has none, nobody waits.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    file = output.with_name(f".{output.name}.lock")
    descriptor = _locked(file, waiting)
    try:
        yield
    finally:
        if descriptor is not None:
            file.unlink(missing_ok=True)
            os.close(descriptor)


def _locked(file: Path, waiting: Callable[[], None]) -> int | None:
    """The open lock file. Who held it before may have removed it: then the name is another file's, and we try that."""
    said = False
    while True:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said:
                waiting()
                said = True
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            os.close(descriptor)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


def link_or_copy_tree(source: Path, target: Path) -> None:
    """Copies a folder, with hard links where the file system has them."""
    shutil.copytree(
        source,
        target,
        copy_function=link_or_copy,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".snakemake_timestamp"),
    )


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same file under another name: a hard link where the file system has them, or else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Has a file's or folder's content reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
