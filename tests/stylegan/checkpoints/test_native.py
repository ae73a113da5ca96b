"""fergan's own files: what their header holds, and the headers of earlier versions."""

import dataclasses
import json

import pytest
import torch
from fergan.stylegan.checkpoints import CheckpointError, native, read_checkpoint, save_generator
from fergan.stylegan.checkpoints.contents import read_content
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def with_header(path, **changes):
    """The file again with another header; None takes a key away."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["fergan"]) | changes
    header = {key: value for key, value in header.items() if value is not None}
    save_file(load_file(path), path, {"fergan": json.dumps(header)})


@pytest.mark.parametrize("settings", [{"conv_clamp": 256.0, "num_fp16_res": 2}, {"architecture": "resnet", "c_dim": 3}])
def test_the_header_holds_only_what_shapes_do_not_show(layouts, tmp_path, settings):
    network = layouts.tiny_generator(mapping_features=7, w_avg_beta=0.99, **settings)
    save_generator(tmp_path / "a.safetensors", network)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert set(json.loads(file.metadata()["fergan"])["config"]) == set(native.SETTINGS)
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.config == network.config
    for name, tensor in network.state_dict().items():
        assert torch.equal(checkpoint.generator.state_dict()[name], tensor)


def test_files_of_version_1_are_read_and_their_shapes_decide(layouts, tmp_path):
    network = layouts.tiny_generator(conv_clamp=64.0)
    save_generator(tmp_path / "a.safetensors", network)
    config = json.loads(json.dumps(dataclasses.asdict(network.config)))
    with_header(tmp_path / "a.safetensors", format="fergan.generator/1", config=config | {"z_dim": 512})
    assert read_checkpoint(tmp_path / "a.safetensors").config == network.config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "fergan.generator/3"}, "reads fergan.generator/2; update fergan"),
        ({"format": None}, "without fergan's header"),
        ({"architecture": "biggan"}, "'biggan'; this fergan knows stylegan2 and dcgan"),
        ({"config": None}, "lacks the configuration"),
        ({"config": {"depth": 3}}, "'depth', unknown to this fergan; update fergan"),
        ({"config": {"mapping_lr_multiplier": 0}}, "not above 0"),
        ({"config": {"conv_clamp": 0}}, "not above 0"),
        ({"config": {"conv_clamp": "wide"}}, "makes no sense"),
    ],
)
def test_headers_that_cannot_be_used(layouts, tmp_path, changes, says):
    save_generator(tmp_path / "a.safetensors", layouts.tiny_generator())
    with_header(tmp_path / "a.safetensors", **changes)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(tmp_path / "a.safetensors")
    assert says in str(error.value) and str(tmp_path / "a.safetensors") in str(error.value)


def test_the_header_is_that_of_the_bytes_that_were_read(layouts, tmp_path):
    path = tmp_path / "a.safetensors"
    save_generator(path, layouts.tiny_generator(), {"licence": "mine"})
    content = read_content(path)
    path.unlink()  # or replaced by another file meanwhile
    assert native.read(content).metadata == {"licence": "mine"}
