"""The worth of each choice of a StyleGAN2 training: ``python -m benchmarks.training_quality --data faces.zip``.

Trainings of equal length differ in one choice each from the recipe of the bundled wide generator. Equal are the minutes
of CPU time on one thread, not the images: what makes a step dearer has to pay for it. Only what depends on where a
training ends has the recipe's images too, if there is the time. A training that was killed has to be removed before the
next call. Each is judged at its last
snapshot by ``fergan metrics``, with an average of G over 5 kimg; the recipe itself with three others too. A second call
with the same ``--out`` measures only what is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fergan.runtime.memory import tune_malloc
from fergan.stylegan.training import stylegan2
from fergan.stylegan.training.loop import Progress
from fergan.workflows.generators.features import MetricsOptions
from fergan.workflows.generators.metrics import judge
from fergan.workflows.generators.train import train_stylegan2

RECIPE: dict[str, Any] = {
    "channels": "3", "cond": False, "width": "wide", "init": None, "batch_size": 16, "part_size": None,
    "learning_rate": 0.0025, "final_learning_rate": None, "gamma": None, "path_length": 0.0, "style_mixing": 0.0,
    "relativistic": False, "feature_loss": 0.0, "augment": "diffaugment", "mirror": True, "snapshot_kimg": 2.0,
    "ema_kimg": (5.0, 2.5, 10.0, 20.0), "precision": "auto", "device": "cpu",
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "grown from half the size": {},
    "path length and style mixing": {"path_length": 2.0, "style_mixing": 0.9},
    "width tiny": {"width": "tiny"},
    "batches of 32": {"batch_size": 32},
    "float32": {"precision": "float32"},
    "cosine to a learning rate of 0.001": {"final_learning_rate": 0.001},
    "mapping of 8 layers": {"width": "deep"},
    "relativistic loss": {"relativistic": True},
    "feature loss in the last fifth": {"feature_loss": 0.2},
}
TO_THE_END = {"final_learning_rate", "feature_loss"}
"""Changes that depend on where a training ends: these trainings are as long as the recipe's was."""
SMALL_SHARE = 0.35  # of the time goes into the small networks that a training grows from
stylegan2.WIDTHS["deep"] = (*stylegan2.WIDTHS["wide"][:3], 8)


class _TimeIsUp(Exception):
    pass


def until(minutes: float) -> Callable[[Progress], None]:
    """A callback that ends a training once this process has computed for so long."""
    end = time.process_time() + 60 * minutes

    def check(_: Progress) -> None:
        if time.process_time() > end:
            raise _TimeIsUp

    return check


def train(data: str, out: Path, minutes: float, resolution: int, kimg: float, seed: int, **changes: Any) -> float:
    """Train into a folder; returns the thousands of images until the last snapshot."""
    settings = {**RECIPE, **changes}
    with contextlib.suppress(_TimeIsUp):
        train_stylegan2(data, str(out), until(minutes), kimg=kimg, resolution=resolution, seed=seed, **settings)
    return max(float(path.stem.split("-")[1]) for path in out.glob("fakes-*.png"))


def scores(data: str, network: Path) -> dict[str, float]:
    records = judge(MetricsOptions(data=data, network=str(network), features="fer,efficientnet-lite0", device="cpu"))
    return {f"{each['metric']} {each['features']['name']}": each["value"] for each in records}


def measure(data: str, out: Path, name: str, minutes: float, resolution: int, seed: int) -> dict[str, Any]:
    folder = out / name.replace(" ", "-")
    recipe = out / "recipe.json"
    kimg = 1000.0
    if TO_THE_END & CHANGES[name].keys():
        if not recipe.exists():
            raise SystemExit(f"{name} is as long as the recipe's training: measure --change recipe first")
        kimg = json.loads(recipe.read_text())["kimg"]
    if name.startswith("grown"):
        small = folder.with_name(folder.name + "-small")
        train(data, small, minutes * SMALL_SHARE, resolution // 2, 1000.0, seed)
        state = str(small / "training-state.pt")
        seen = train(data, folder, minutes * (1 - SMALL_SHARE), resolution, kimg, seed, init=state)
    else:
        seen = train(data, folder, minutes, resolution, kimg, seed, **CHANGES[name])
    files = {f"{half_life:g}": f"generator-ema{half_life:g}.safetensors" for half_life in RECIPE["ema_kimg"]}
    files["5"] = "generator.safetensors"
    judged = files if name == "recipe" else {"5": files["5"]}
    found = {half_life: scores(data, folder / file) for half_life, file in judged.items()}
    return {"name": name, "kimg": seen, "minutes": minutes, "resolution": resolution, "averages": found}


def rows(found: dict[str, Any]) -> list[str]:
    lines = []
    for half_life, measured in found["averages"].items():
        cells = [
            cell
            for features in ("fer", "efficientnet-lite0")
            for cell in (f"{1000 * measured[f'kid {features}']:.1f}", f"{measured[f'recall {features}']:.2f}")
        ]
        lines.append(f"| {found['name']} | {found['kimg']:.0f} | {half_life} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="Folder or zip of images.")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the trainings and their results.")
    parser.add_argument("--minutes", type=float, default=20.0, help="CPU time of each training.")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--change", choices=list(CHANGES), action="append", help="Only these.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tune_malloc()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.change or CHANGES:
        path = arguments.out / f"{name.replace(' ', '-')}.json"
        if not path.exists():
            found = measure(
                arguments.data, arguments.out, name, arguments.minutes, arguments.resolution, arguments.seed
            )
            path.write_text(json.dumps(found, indent=1))
    print("| change | kimg | EMA | KID × 1000, fer | recall, fer | KID × 1000, EfficientNet | recall, EfficientNet |")
    print("|---|---|---|---|---|---|---|")
    for name in CHANGES:
        path = arguments.out / f"{name.replace(' ', '-')}.json"
        if path.exists():
            print(*rows(json.loads(path.read_text())), sep="\n")


if __name__ == "__main__":
    main()
