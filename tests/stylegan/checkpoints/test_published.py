"""Checkpoints as people have them: read to the bit, and drawn as by the programs that made them."""

import json

import numpy as np
import pytest
import torch
from fergan.stylegan.checkpoints import CheckpointError, convert, describe, read_checkpoint
from fergan.stylegan.generator import load_generator

TOLERANCE = 2e-5  # of the largest absolute value


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def same_weights(network, other, exact=True):
    ours, theirs = network.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]) or (
            not exact and torch.allclose(ours[name], theirs[name], atol=1e-6)
        )


def reference_files(reference):
    files = sorted(file for file in reference.iterdir() if file.suffix in (".pkl", ".pt"))
    assert files
    return files


def test_every_reference_file_draws_what_its_own_program_draws(reference):
    for file in reference_files(reference):
        with np.load(reference / f"{file.stem}.expected.npz") as expected:
            generator = load_generator(file, device="cpu")
            z = np.concatenate([np.random.RandomState(seed).randn(1, generator.z_dim) for seed in expected["seeds"]])
            c = expected["c"] if generator.c_dim else None
            runs = [name.removesuffix("_args") for name in expected if name.endswith("_args")]
            assert runs
            for run in runs:
                settings = json.loads(str(expected[f"{run}_args"]))
                noise_mode = settings.pop("noise_mode")
                ws = generator.mapping(z, c, **settings)
                images = generator.synthesis(ws, noise_mode)
                assert_close(ws, expected[f"{run}_w"])
                assert_close(images, expected[f"{run}_image"])
                if f"{run}_logits" in expected:
                    discriminator = read_checkpoint(file).discriminator
                    with torch.no_grad():
                        logits = discriminator(images.clone(), None if c is None else torch.from_numpy(c))
                    assert_close(logits, expected[f"{run}_logits"])


def test_a_converted_reference_file_draws_the_same_bytes(reference, tmp_path):
    for file in reference_files(reference):
        out = tmp_path / f"{file.stem}.safetensors"
        convert(file, out)
        ours, theirs = load_generator(out, device="cpu"), load_generator(file, device="cpu")
        same_weights(ours.network, theirs.network)
        chosen = {"class_index": 2} if ours.c_dim else {}
        assert np.array_equal(ours.generate([5], 0.7, **chosen), theirs.generate([5], 0.7, **chosen))
        assert out.stat().st_size < file.stat().st_size
        about = describe(out)
        assert about["metadata"]["converted_from"]["format"] == describe(file)["format"]
        json.dumps(about, allow_nan=False)


@pytest.mark.parametrize(
    ("settings", "how"),
    [
        ({"conv_clamp": 256, "num_fp16_res": 2}, {"flat": True, "protocol": 3, "old_numpy": True}),
        ({"architecture": "resnet"}, {"protocol": 2, "old_numpy": True}),
        ({"architecture": "orig", "c_dim": 3, "img_channels": 1}, {"protocol": 5, "nhwc": True}),
        ({"use_noise": False, "num_mapping_layers": 8, "resample_filter": (0.25, 0.5, 0.25)}, {"nhwc": True}),
        ({"mapping_features": 7, "embed_features": 4, "c_dim": 2, "mapping_lr_multiplier": 0.1}, {}),
    ],
)
def test_pytorch_pickles_of_every_kind(layouts, tmp_path, settings, how):
    generator, discriminator = layouts.tiny_generator(**settings), layouts.tiny_discriminator()
    layouts.write_ada(tmp_path / "snapshot.pkl", generator, discriminator, **how)
    checkpoint = read_checkpoint(tmp_path / "snapshot.pkl")
    assert checkpoint.format == "stylegan2-ada"
    assert checkpoint.config == generator.config
    assert checkpoint.metadata == {
        "training_set": {"class_name": "training.dataset.ImageFolderDataset", "resolution": 16}
    }
    same_weights(checkpoint.generator, generator)
    same_weights(checkpoint.discriminator, discriminator)
    assert checkpoint.discriminator.config == discriminator.config


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
@pytest.mark.parametrize(("version", "protocol"), [(4, 2), (5, 5)])
def test_tensorflow_pickles_of_both_versions(layouts, tmp_path, version, protocol, architecture):
    generator = layouts.tiny_generator(architecture=architecture, c_dim=3)
    kinds = {"architecture": architecture, "c_dim": 3, "cmap_dim": 5, "num_mapping_layers": 0}
    discriminator = layouts.tiny_discriminator(**(kinds | {"mapping_lr_multiplier": 0.1}))
    layouts.write_tensorflow(tmp_path / "network.pkl", generator, discriminator, version, protocol)
    checkpoint = read_checkpoint(tmp_path / "network.pkl")
    assert (checkpoint.format, checkpoint.config) == ("tensorflow", generator.config)
    same_weights(checkpoint.generator, generator, exact=False)  # the style biases are stored less 1
    assert checkpoint.discriminator.config == discriminator.config
    same_weights(checkpoint.discriminator, discriminator)


@pytest.mark.parametrize("legacy", [False, True])
def test_rosinality_checkpoints_converted_and_from_training(layouts, tmp_path, legacy):
    generator = layouts.tiny_generator(z_dim=5)
    layouts.write_rosinality(tmp_path / "converted.pt", generator, legacy=legacy)
    same_weights(read_checkpoint(tmp_path / "converted.pt").generator, generator)

    layouts.write_rosinality(tmp_path / "training.pt", generator, legacy=legacy, training=True, noises=False)
    checkpoint = read_checkpoint(tmp_path / "training.pt")
    assert checkpoint.metadata["training"]["path"] == "faces"
    with torch.no_grad():  # the average w, which the file lacks, is that of many latents
        w = generator.mapping(torch.randn(20_000, 5), update_w_avg=False)[:, 0]
    assert torch.allclose(checkpoint.generator.mapping.w_avg, w.mean(0), atol=5 * float(w.std()) / 64)
    # and so are its noise maps, which are drawn from a fixed seed instead
    again = read_checkpoint(tmp_path / "training.pt")
    same_weights(checkpoint.generator, again.generator)
    assert not torch.equal(
        again.generator.synthesis.b8.conv0.noise_const, again.generator.synthesis.b8.conv1.noise_const
    )


def test_what_fergan_cannot_draw_is_refused_by_name(layouts, tmp_path):
    file = tmp_path / "other"
    generator = layouts.tiny_generator()

    def refused():
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(file)
        assert str(caught.value).startswith(f"{file}: ")
        return str(caught.value)

    layouts.write_stylegan3_t(file)
    assert "StyleGAN3" in refused()
    layouts.write_ada(file, generator, layouts.tiny_discriminator(), G_ema=None)
    assert "only a discriminator" in refused()
    layouts.write_tensorflow(file, generator, extra_settings={"synthesis_func": "G_synthesis_stylegan_revised"})
    assert "config-a to config-d" in refused()
    layouts.write_tensorflow(file, generator, version=3)
    assert "version 3" in refused()
    torch.save({"GAN": {"G.x": torch.zeros(1)}, "version": "1.8"}, file)
    assert "lucidrains" in refused()
    torch.save({"d": {"x": torch.zeros(1)}}, file)
    assert "only a discriminator" in refused()
    for content, said in (
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs", "git lfs pull"),
        (b"", "empty"),
    ):
        file.write_bytes(content)
        assert said in refused()
    file.unlink()
    assert "no such file" in refused()


def test_words_and_tensors_that_disagree_are_refused(layouts, tmp_path):
    generator = layouts.tiny_generator()
    generator.config = type(generator.config)(**{**vars(generator.config), "z_dim": 512})
    layouts.write_ada(tmp_path / "snapshot.pkl", generator)
    with pytest.raises(CheckpointError, match="says z_dim 512, but its tensors have 6"):
        read_checkpoint(tmp_path / "snapshot.pkl")


def test_networks_that_diverged_are_refused(layouts, tmp_path):
    generator = layouts.tiny_generator()
    with torch.no_grad():
        generator.synthesis.b8.conv0.weight[0, 0, 0, 0] = float("nan")
    layouts.write_rosinality(tmp_path / "nan.pt", generator)
    with pytest.raises(CheckpointError, match="NaN"):
        _ = read_checkpoint(tmp_path / "nan.pt").generator
