"""Artifacts: folders named after what made them, written aside and renamed when complete; the files in them."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatlab.errors import UserError, full

if TYPE_CHECKING:
    import numpy as np

HASH_DIGITS = 12
UNITS = ("bytes", "kB", "MB", "GB", "TB")
LONGEST_SLUG = 160  # characters; file systems allow names of 255 bytes, which also hold a hash, a prefix and a suffix


def canonical_json(value: Any) -> str:
    """Return a JSON text that depends only on the builtin values, not on the order of dictionary keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity(slug: str, content: Any) -> str:
    """Return the name `<slug>-<hash>`: readable words, and a prefix of the content's SHA-256 as the identity."""
    words = re.sub(r"[^a-z0-9_.]+", "-", slug.lower()).strip("-.")[:LONGEST_SLUG] or "unnamed"
    return f"{words}-{hashlib.sha256(canonical_json(content).encode()).hexdigest()[:HASH_DIGITS]}"


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, or of a folder's relative file names and contents; links are followed."""
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
    """Return the sorted files below a folder. Links to folders are followed, except to a folder that contains the link."""
    files, ancestors = [], {folder: {folder.resolve()}}
    for place, subfolders, names in os.walk(folder, followlinks=True):
        parent = Path(place)
        files += [parent / name for name in names if (parent / name).is_file()]
        real = {name: (parent / name).resolve() for name in subfolders}
        subfolders[:] = [name for name in subfolders if real[name] not in ancestors[parent]]
        ancestors |= {parent / name: {*ancestors[parent], real[name]} for name in subfolders}
    return sorted(files)


def folder_bytes(folder: Path) -> int:
    """Return the total size of all files below a folder in bytes."""
    return sum(file.stat().st_size for file in files_below(folder))


def readable_bytes(size: float) -> str:
    """Return a readable number of bytes, such as 512 bytes or 45.4 MB."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys and a trailing newline."""
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def read_json(path: Path) -> Any:
    """Return the value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def scratch_folder(output: Path) -> Path:
    """Return the folder in which `output` is written until it is complete."""
    return output.with_name(f".{output.name}.partial")


def checkpoint_folder(output: Path) -> Path:
    """Return the folder of a stage's checkpoints, which survives a new attempt and is deleted when `output` is complete.

    Args:
        output: the artifact's folder, or its scratch folder.
    """
    name = output.name.removeprefix(".").removesuffix(".partial")
    return output.with_name(f".{name}.checkpoints")


@contextmanager
def written_aside(output: Path, beside: str | None = None) -> Iterator[Path]:
    """Yield a scratch folder beside `output` that becomes `output` only if the block ends without an error.

    Args:
        output: the folder to write.
        beside: name of the job, if several jobs write into `output`. Entries of the scratch folder then replace entries of the
            same name in `output`, and other entries are kept.

    Raises:
        UserError: if the disk is full.
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
        no_space = full(error, scratch)  # It is checked before deleting the scratch folder frees space.
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
def exclusively_locked(output: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of an artifact, so that only one process builds it at a time.

    A killed workflow may leave running jobs behind, and the workflow that is started after it builds the same artifacts. The lock is
    one of the operating system, so it is released when its process ends for any reason. On a file system without locks, nothing is
    locked.

    Args:
        output: folder of the artifact.
        waiting: is called once if another process holds the lock.
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
    """Return the descriptor of the locked file, or None on a file system without locks.

    The previous holder may have removed the file after it was opened here. Then its name belongs to another file, which is tried next.
    """
    reported = False
    while True:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not reported:
                waiting()
                reported = True
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
    """Copy a folder, with hard links to its files if the file system supports them."""
    shutil.copytree(
        source,
        target,
        copy_function=link_or_copy,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".snakemake_timestamp"),
    )


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Create a hard link to a file, or a copy if the file system does not support hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Flush the content of a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_array(path: Path, mapped: bool = False) -> "np.ndarray":
    """Load the array of a .npy file.

    Args:
        path: the file.
        mapped: whether to map the file into memory, for files that do not fit in it, instead of reading it.

    Raises:
        UserError: if the file holds anything else than an array of numbers.
    """
    import numpy as np  # the rules of the workflow, which import this module, load no arrays

    with pickles_refused(path):
        array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


@contextmanager
def pickles_refused(path: Path) -> Iterator[None]:
    """Convert NumPy's errors for pickles and truncated files into a UserError."""
    try:
        yield
    except (ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path} holds no valid array of numbers ({reason[:80]}); delete {path.parent} and run again"
        ) from None
