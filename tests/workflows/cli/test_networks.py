"""Commands about networks: what there is, what is in a file, and a smaller file of it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.stylegan import generator as generators
from fergan.stylegan import zoo
from fergan.stylegan.checkpoints import save_generator
from fergan.stylegan.generator import load_generator
from fergan.stylegan.networks import StyleGAN2, StyleGAN2Config

from ..conftest import Invoke


def save(path: Path, **metadata: object) -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=16, z_dim=6, w_dim=5, channels=(5, 4, 3), num_mapping_layers=2)
    model = StyleGAN2(config).eval()
    save_generator(path, model, metadata=metadata)
    return model


def save_rosinality(path: Path, model: StyleGAN2) -> None:
    """``model`` as rosinality's programs would have saved it, with a discriminator's worth of ballast."""
    state = model.state_dict()
    saved = {"input.input": state["synthesis.b4.const"][None]}
    for i in range(2):
        saved |= {f"style.{i + 1}.{part}": state[f"mapping.fc{i}.{part}"] for part in ("weight", "bias")}
    layers = [("conv1", "b4.conv1"), ("convs.0", "b8.conv0"), ("convs.1", "b8.conv1"), ("convs.2", "b16.conv0"),
              ("convs.3", "b16.conv1")]  # fmt: skip
    for k, (theirs, ours) in enumerate(layers):
        part = {name: state[f"synthesis.{ours}.{name}"] for name in ("weight", "bias", "noise_strength", "noise_const")}
        saved[f"{theirs}.conv.weight"] = part["weight"][None]
        saved |= {f"{theirs}.conv.modulation.{x}": state[f"synthesis.{ours}.affine.{x}"] for x in ("weight", "bias")}
        saved[f"{theirs}.noise.weight"] = part["noise_strength"].reshape(1)
        saved[f"{theirs}.activate.bias"] = part["bias"]
        saved[f"noises.noise_{k}"] = part["noise_const"][None, None]
    for theirs, ours in (("to_rgb1", "b4"), ("to_rgbs.0", "b8"), ("to_rgbs.1", "b16")):
        saved[f"{theirs}.conv.weight"] = state[f"synthesis.{ours}.torgb.weight"][None]
        saved[f"{theirs}.bias"] = state[f"synthesis.{ours}.torgb.bias"].reshape(1, 3, 1, 1)
        for x in ("weight", "bias"):
            saved[f"{theirs}.conv.modulation.{x}"] = state[f"synthesis.{ours}.torgb.affine.{x}"]
    torch.save({"g_ema": saved, "latent_avg": state["mapping.w_avg"], "d": {"x": torch.zeros(100_000)}}, path)


def test_inspect_tells_what_is_in_a_file(tmp_path: Path, invoke: Invoke) -> None:
    save(tmp_path / "[red]tiny.safetensors", licence="CC0", training_set={"path": "faces.zip", "resolution": 16})
    done = invoke("inspect", "[red]tiny.safetensors")
    assert done.returncode == 0, done.stderr
    for said in ("[red]tiny.safetensors", "stylegan2", "16 x 16, RGB", "CC0", "faces.zip", "num_mapping_layers"):
        assert said in done.stdout
    found = json.loads(invoke("inspect", "[red]tiny.safetensors", "--format", "json").stdout)
    assert (found["format"], found["resolution"], found["licence_notice"]) == ("fergan", 16, "CC0")
    assert re.sub(r"\D", "", re.search(r"Parameters\s+([\d,]+)", done.stdout)[1]) == str(found["parameters"])


def test_convert_keeps_the_generator_to_the_bit(tmp_path: Path, invoke: Invoke) -> None:
    model = save(tmp_path / "ours.safetensors")
    save_rosinality(tmp_path / "theirs.pt", model)
    done = invoke("convert", "theirs.pt", "small.safetensors")
    assert done.returncode == 0, done.stderr
    assert "0.0 MB from 0.4 MB" in done.stdout
    small = load_generator(tmp_path / "small.safetensors", device="cpu")
    for name, tensor in small.network.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    theirs = load_generator(tmp_path / "theirs.pt", device="cpu")
    assert np.array_equal(small.generate(range(3), 0.7), theirs.generate(range(3), 0.7))
    assert "NVIDIA" in json.loads(invoke("inspect", "small.safetensors", "--format", "json").stdout)["licence_notice"]

    before = (tmp_path / "small.safetensors").read_bytes()
    again = invoke("convert", "ours.safetensors", "small.safetensors")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert (tmp_path / "small.safetensors").read_bytes() == before
    assert invoke("convert", "ours.safetensors", "small.safetensors", "--force").returncode == 0
    for arguments, code, said in (
        (["ours.safetensors", "ours.safetensors", "--force"], 2, "itself"),
        (["ours.safetensors", "ours.pkl"], 2, ".safetensors"),
        (["gone.pkl", "new.safetensors"], 1, "gone.pkl"),
        (["ours.safetensors", "gone/new.safetensors"], 1, "gone/new.safetensors"),
    ):
        done = invoke("convert", *arguments)
        assert done.returncode == code
        assert said in done.stderr


@pytest.fixture
def two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One bundled generator with its card, and an empty cache; returns the cache."""
    (tmp_path / "weights").mkdir()
    save(tmp_path / "weights" / "stylegan2-small.safetensors", licence="Apache-2.0")
    (tmp_path / "weights" / "stylegan2-small.md").write_text("# A small network\n\nIt draws noise.\n")
    monkeypatch.setattr(generators, "WEIGHTS", tmp_path / "weights")
    cache = tmp_path / "cache"
    monkeypatch.setenv("FERGAN_CACHE", str(cache))
    return cache


def test_models_lists_all_and_tells_of_one(two_models: Path, invoke: Invoke) -> None:
    done = invoke("models")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "bundled" in lines["stylegan2-small"]
    assert "Apache-2.0" in lines["stylegan2-small"]
    assert "classifier" in lines["fernet"]
    assert "to download" in lines["ffhq-256"]
    assert "~381 MB" in lines["ffhq-config-f"]
    assert "non-commercial" in lines["ffhq-config-f"]

    assert "It draws noise." in invoke("models", "stylegan2-small").stdout
    told = invoke("models", "ffhq").stdout
    assert zoo.ZOO["ffhq"].url in told
    assert str(two_models / "ffhq.pkl") in told
    two_models.mkdir()
    (two_models / "ffhq.pkl").write_bytes(b"x" * 123_456)
    assert re.search(r"^ ?ffhq .*0\.1 MB.*downloaded", invoke("models").stdout, re.MULTILINE)
    wrong = invoke("models", "nothing")
    assert wrong.returncode == 2
    assert "stylegan2-small" in wrong.stderr
