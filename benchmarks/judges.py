"""Costs of several judges of one run: ``python -m benchmarks.judges --faces DIR --n 500`` prints a Markdown table.

Pictures of ``--faces`` are linked until there are ``--n``. Each judge labels them in a run of its own, then all do in
one. That reads the pictures once, so it should cost the sum of the single passes less the reading that it saves; the
target is that and a tenth of one reading. Seconds are processor time of this process, which other work disturbs less
than the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path


def efficientnet(path: Path) -> Path:
    """An EfficientNet-B0 for 224 pixels and eight labels with random weights, as HSEmotion's: an ONNX file."""
    import torch
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.efficientnet_b0(num_classes=8).eval()
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 224, 224),),
        path,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    labels = '["angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"]'
    path.with_suffix(".json").write_text(
        f'{{"labels": {labels}, "input_range": "imagenet", "outputs": "logits"}}', encoding="utf-8"
    )
    return path


def linked(faces: Path, n: int, folder: Path) -> Path:
    """A folder of ``n`` links to the pictures of another, over and over."""
    folder.mkdir()
    files = sorted(path for path in faces.iterdir() if path.is_file())
    for number in range(n):
        source = files[number % len(files)]
        (folder / f"{number:05d}{source.suffix}").symlink_to(source.resolve())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", required=True, type=Path, help="a folder of pictures")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--model", action="append", help="judges  [default: fernet, fernet-ensemble, EfficientNet-B0]")
    options = parser.parse_args()
    from fergan.data.image_source import ImageSource
    from fergan.workflows.run_folder.folder import RunFolder
    from fergan.workflows.steps.classify import classify
    from fergan.workflows.steps.judge import ClassifyOptions, Judge

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = str(linked(options.faces, options.n, folder / "faces"))
        models = options.model or ["fernet", "fernet-ensemble", str(efficientnet(folder / "efficientnet.onnx"))]

        def spent(models: list[str]) -> float:
            wanted = ClassifyOptions(tuple((None, model) for model in models), pictures, "ffhq", "cpu")
            started = time.process_time()
            classify(RunFolder(folder / "-".join(str(len(path)) for path in models)), wanted)
            return time.process_time() - started

        for model in models:
            judge = Judge(ClassifyOptions(((None, model),), device="cpu"))
            first_picture = ImageSource(pictures).read(f"00000{_suffix(pictures)}")
            judge.classifier.predict(judge.preparation.prepare([first_picture]))
        preparation = Judge(ClassifyOptions(((None, models[-1]),), crop="ffhq", device="cpu")).preparation
        reading = preparing = 0.0
        source = ImageSource(pictures)
        for name in source.names:
            started = time.process_time()
            picture = source.read(name)
            read = time.process_time()
            preparation.prepare([picture])
            reading, preparing = reading + read - started, preparing + time.process_time() - read
        opening = _opening(models)
        single = [spent([model]) for model in models]
        together = spent(models)
    target = sum(single) - (len(models) - 1) * reading + 0.1 * reading
    print("| pass | seconds | faces/s |\n|---|---:|---:|")
    rows = [("reading the pictures alone", reading), (f"preparing them for {Path(models[-1]).stem} alone", preparing)]
    rows += [(Path(model).stem, seconds) for model, seconds in zip(models, single, strict=True)]
    rows += [("sum of the single passes", sum(single)), ("all judges in one pass", together)]
    rows += [("target: the sum, read once, and a tenth of a reading", target)]
    for what, seconds in rows:
        print(f"| {what} | {seconds:.1f} | {options.n / seconds:.0f} |")
    print(f"\n{options.n} faces; opening all models takes {opening:.1f} s")


def _suffix(folder: str) -> str:
    return next(Path(folder).iterdir()).suffix


def _opening(models: list[str]) -> float:
    from fergan.workflows.steps.judge import ClassifyOptions, Judge

    started = time.process_time()
    for model in models:
        Judge(ClassifyOptions(((None, model),), device="cpu"))
    return time.process_time() - started


if __name__ == "__main__":
    main()
