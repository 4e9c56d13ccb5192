"""Pictures in all modes, damaged ones and a decompression bomb: which are right, which are rejected, and peak memory.

The model is a generated CLIP with random weights, so only structural properties are measured. A vector is right if,
among the pictures that sentence-transformers encodes from the scenes themselves, its own is the nearest one.
"""

import argparse
import itertools
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_tables import show
from benchmarks.processes import run_child
from crdbvec_pipelines.encoding import ModelRegistry, RowsRejected
from tests.support.generated_models import clip
from tests.support.pictures import as_shown, damaged, in_all_modes, rotated_by_camera, scene

# The contents that are given to the model together, as a refresh does with large inputs.
_BATCH_PICTURES = 32
_ROTATED = "rotated by EXIF"
_MODES = sum(1 for _ in in_all_modes(0))


def main() -> None:
    """Encode the pictures in a process of its own, one picture in another one, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--side", type=int, default=1_000, help="the longest side of the largest picture, in pixels")
    parser.add_argument("--child", nargs=3, metavar=("MODEL", "FOLDER", "RESULTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        model, folder, results = options.child
        print(json.dumps(_encode(model, Path(folder), Path(results))))
        return
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        clip(root / "clip")
        (root / "all").mkdir()
        (root / "one").mkdir()
        modes = dict(_write(root / "all", options.pictures, options.side))
        largest = max((root / "all").iterdir(), key=lambda file: file.stat().st_size if file.name in modes else 0)
        (root / "one" / largest.name).write_bytes(largest.read_bytes())
        # The first process also inspects the model, for which it is loaded once more.
        _, one, everything = (
            _in_a_process(root / "clip", root / folder, root / f"{folder}.npz") for folder in ("one", "one", "all")
        )
        right = _right(root / "clip", np.load(root / "all.npz"), modes, options.side)
    counts = Counter(modes.values())
    show(
        f"{len(modes)} pictures, up to {options.side} pixels per side",
        ["mode", "pictures", "right"],
        [[mode, counts[mode], right[mode]] for mode in counts],
    )
    rejected = Counter(everything["rejected"].values())
    show("damaged files and a decompression bomb", ["rejected by", "files"], sorted(rejected.items()))
    above = everything["peak"] - one["peak"]
    print(f"of {len(modes)} pictures: {right.total()} right, {len(set(modes) & set(everything['rejected']))} rejected")
    print(f"peak memory: {everything['peak']:,.0f} MB, {above:,.0f} MB above that of one picture")
    print(f"pictures/s: {len(modes) / everything['seconds']:,.0f}")


def _in_a_process(*arguments: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.pictures", "--child", *map(str, arguments)]
    result: dict[str, Any] = json.loads(run_child(command).splitlines()[-1])
    return result


def _write(folder: Path, pictures: int, side: int) -> Iterator[tuple[str, str]]:
    """Write the files; yield the name and the mode of each that is a picture."""
    for number in range(pictures):
        width, height = _size(number, side)
        place = number % (1 + _MODES)
        if place == _MODES:
            mode, content = _ROTATED, rotated_by_camera(number, width, height)[0]
        else:
            # The modes are made one after the other, those after the chosen one not at all.
            mode, content = next(itertools.islice(in_all_modes(number, width, height), place, None))
        name = f"{number:05}"
        (folder / name).write_bytes(content)
        yield name, mode
    for number, (content, _) in enumerate(damaged()):
        # Between the others.
        (folder / f"{number * pictures // 20:05}-damaged").write_bytes(content)


def _size(number: int, side: int) -> tuple[int, int]:
    share = np.random.default_rng(number).uniform(0.1, 1)
    return max(40, int(side * share)), max(40, int(side * share * 0.75))


def _encode(model: str, folder: Path, results: Path) -> dict[str, Any]:
    """Encode the files of a folder in this process; return peak memory, time and rejected files."""
    encoder = ModelRegistry().load(model)
    files = sorted(folder.iterdir())
    rejected: dict[str, str] = {}
    vectors: dict[str, Any] = {}
    started = time.perf_counter()
    for start in range(0, len(files), _BATCH_PICTURES):
        names = [file.name for file in files[start : start + _BATCH_PICTURES]]
        batch = [(name, (folder / name).read_bytes()) for name in names]
        try:
            encoded = encoder.encode(batch)
        except RowsRejected as error:
            failures = {names[position]: failure.reason.value for position, failure in error.failures.items()}
            rejected |= failures
            names = [name for name in names if name not in failures]
            if error.encoded is None:
                continue
            encoded = error.encoded
        vectors |= dict(zip(names, encoded.vectors, strict=True))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / 1e6
    np.savez(results, **vectors)
    return {"peak": peak, "seconds": seconds, "rejected": rejected}


def _right(model: Path, found: Any, modes: dict[str, str], side: int) -> Counter[str]:
    """Return how many vectors of each mode are nearest to that of the picture that their file shows."""
    from sentence_transformers import SentenceTransformer

    original: Any = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    names = list(modes)
    expected = []
    for name in names:
        size = _size(int(name), side)
        shown = scene(int(name), *size) if modes[name] == _ROTATED else as_shown(int(name), modes[name], *size)
        expected.append(original.encode([{"image": shown}], show_progress_bar=False)[0])
    unit = _unit(np.array(expected))
    # What all vectors have in common is subtracted, because those of random weights are all near to each other.
    mean = unit.mean(axis=0)
    centered = _unit(unit - mean)
    right: Counter[str] = Counter()
    for position, name in enumerate(names):
        if name in found:
            vector = _unit(_unit(found[name][None]) - mean)[0]
            right[modes[name]] += int((centered @ vector).argmax() == position)
    return right


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


if __name__ == "__main__":
    main()
