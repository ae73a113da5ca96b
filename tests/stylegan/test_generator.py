"""Seeds in, faces out: what a face may depend on, and what a person hears who asks for what there is not."""

import numpy as np
import pytest
import torch
from fergan.runtime.errors import DataError, UsageError
from fergan.stylegan import generator as module
from fergan.stylegan import zoo
from fergan.stylegan.checkpoints import CheckpointError, save_generator
from fergan.stylegan.dcgan import DCGANConfig, DCGANGenerator
from fergan.stylegan.generator import Generator, load_generator


@pytest.fixture
def generator(layouts):
    return Generator(layouts.tiny_generator())


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
def test_a_face_depends_on_its_seed_alone(generator, noise_mode):
    settings = {"truncation_psi": 0.7, "noise_mode": noise_mode}
    together = generator.generate(range(6), **settings)
    assert together.shape == (6, 16, 16, 3) and together.dtype == np.uint8
    torch.manual_seed(123)
    shuffled = generator.generate([4, 1, 1], **settings)
    assert np.array_equal(shuffled, together[[4, 1, 1]])
    assert np.array_equal(generator.generate([2], **settings)[0], together[2])
    assert not np.array_equal(together[0], together[1])
    assert generator.generate([], **settings).shape == (0, 16, 16, 3)


def test_padded_batches_give_the_faces_of_their_seeds(generator, monkeypatch):
    """The path that GPUs take: batches of one size, the last one padded."""
    one_by_one = generator.generate(range(5), noise_mode="random").astype(int)
    monkeypatch.setattr(Generator, "batch_size", 4)
    in_batches = generator.generate(range(5), noise_mode="random").astype(int)
    assert np.abs(in_batches - one_by_one).max() <= 1  # another order of summation may round to a neighbour


def test_seeds_fill_batches_and_only_the_last_is_padded(generator, monkeypatch):
    monkeypatch.setattr(Generator, "batch_size", 4)
    seen, synthesis = [], Generator.synthesis
    monkeypatch.setattr(Generator, "synthesis", lambda self, ws, *a: seen.append(len(ws)) or synthesis(self, ws, *a))
    faces = generator.faces(iter(range(9)))
    next(faces)
    assert seen == [4]  # faces are drawn as they are taken
    assert len(list(faces)) == 8 and seen == [4, 4, 4]


@pytest.mark.parametrize("noise_mode", ["const", "random"])
def test_drawing_the_styles_of_seeds_gives_their_faces(generator, noise_mode):
    styles = generator.styles([3, 9], truncation_psi=0.7)
    assert styles.shape == (2, generator.num_ws, generator.w_dim) and styles.dtype == np.float32
    drawn = np.stack(list(generator.draw(styles, noise_mode, [3, 9])))
    assert np.array_equal(drawn, generator.generate([3, 9], 0.7, noise_mode=noise_mode))
    assert generator.styles([]).shape == (0, generator.num_ws, generator.w_dim)


def test_faces_follow_the_published_seed_convention(generator):
    z = np.random.RandomState(7).randn(1, generator.z_dim)
    images = generator.synthesis(generator.mapping(z, truncation_psi=0.5), "const")
    assert images.dtype == torch.float32
    expected = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(generator.generate([7], 0.5)[0], expected)


def test_classes(layouts, generator):
    conditional = Generator(layouts.tiny_generator(c_dim=3), name="moods")
    first, last = conditional.generate([1], class_index=0), conditional.generate([1], class_index=2)
    assert not np.array_equal(first, last)
    for index in (None, 3, -1):
        with pytest.raises(UsageError, match="classes 0 to 2"):
            conditional.generate([1], class_index=index)
    with pytest.raises(UsageError, match="no classes"):
        generator.generate([1], class_index=0)


def test_seeds_of_several_classes_share_batches_and_draw_what_each_class_alone_draws(layouts, monkeypatch):
    conditional = Generator(layouts.tiny_generator(c_dim=3))
    seeds, classes = [5, 6, 5, 7, 5, 8], [0, 2, 2, 0, 1, 2]
    mixed = conditional.generate(seeds, class_index=classes, noise_mode="random")
    for index in range(3):
        rows = [row for row, one in enumerate(classes) if one == index]
        alone = conditional.generate([seeds[row] for row in rows], class_index=index, noise_mode="random")
        assert np.array_equal(mixed[rows], alone)
    assert np.array_equal(conditional.styles(seeds, class_index=classes)[2:3], conditional.styles([5], class_index=2))
    for wrong, error in (([0, 3], UsageError), ([0], UsageError)):
        with pytest.raises(error):
            conditional.generate([1, 2], class_index=wrong)
    monkeypatch.setattr(Generator, "batch_size", 4)
    seen, synthesis = [], Generator.synthesis
    monkeypatch.setattr(Generator, "synthesis", lambda self, ws, *a: seen.append(len(ws)) or synthesis(self, ws, *a))
    in_batches = conditional.generate(seeds, class_index=classes, noise_mode="random").astype(int)
    assert seen == [4, 4] and np.abs(in_batches - mixed).max() <= 1


def test_wrong_requests_are_usage_errors(generator):
    for seed in (-1, 2**32, 1.5, True):
        with pytest.raises(UsageError, match="seed"):
            generator.generate([seed])
    with pytest.raises(UsageError, match="const, random, none"):
        generator.generate([1], noise_mode="loud")
    with pytest.raises(ValueError, match=r"\[N, 6\]"):
        generator.mapping(np.zeros((1, 7)))


@pytest.mark.parametrize("psi", ["abc", None, [1], True, 1e308])
def test_a_psi_that_is_no_number_is_refused(layouts, psi):
    network = layouts.tiny_generator(img_resolution=8, channels=(3, 2))
    generator = Generator(network, "cpu", "tiny", metadata={"default_truncation_psi": psi})
    with pytest.raises(DataError, match="tiny: of its own, the truncation psi is"):
        module.default_psi(generator, None)


@pytest.mark.parametrize("psi", [float("nan"), float("inf"), -1e308])
def test_a_wrong_psi_draws_no_black_pictures(generator, psi):
    for use in (lambda: module.default_psi(generator, psi), lambda: generator.generate([0], psi)):
        with pytest.raises(UsageError, match="the truncation psi is"):
            use()


def test_huge_weights_draw_no_black_pictures(tmp_path):
    network = DCGANGenerator(DCGANConfig(4, 32, 1, 1))
    for parameter in network.parameters():
        parameter.data.normal_().sign_().mul_(3e38)
    save_generator(tmp_path / "g.safetensors", network)
    with pytest.raises(DataError, match="g: draws NaN or infinity"):
        load_generator(tmp_path / "g.safetensors", "cpu").generate([0])


def test_a_dcgan_has_the_same_face(tmp_path):
    network = DCGANGenerator(DCGANConfig(z_dim=10, base_channels=2)).eval()
    save_generator(tmp_path / "small.safetensors", network, metadata={"licence": "CC0"})
    generator = load_generator(tmp_path / "small.safetensors", device="cpu")
    assert (generator.name, generator.num_ws, generator.w_dim, generator.c_dim) == ("small", 1, 10, 0)
    assert generator.metadata == {"licence": "CC0"}
    assert len(generator.sha256) == 64
    z = np.random.RandomState(3).randn(1, 10)
    ws = generator.mapping(z, truncation_psi=0.5)
    torch.testing.assert_close(ws, torch.from_numpy(z * 0.5).float()[:, None])
    with torch.no_grad():
        torch.testing.assert_close(generator.synthesis(ws), network(ws[:, 0]))
    assert np.array_equal(generator.generate([3, 4])[1], generator.generate([4])[0])


def test_float16_files_are_half_the_size_and_computed_in_float32(layouts, tmp_path):
    network = layouts.tiny_generator(img_resolution=32, channels=(16, 16, 16, 8))
    save_generator(tmp_path / "full.safetensors", network)
    save_generator(tmp_path / "half.safetensors", network, dtype=torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "full.safetensors").stat().st_size
    full, half = (load_generator(tmp_path / f"{name}.safetensors", device="cpu") for name in ("full", "half"))
    assert {tensor.dtype for tensor in half.network.state_dict().values()} == {torch.float32}
    for name, tensor in full.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    assert np.abs(full.generate([1]).astype(int) - half.generate([1])).max() <= 3
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["full.safetensors", "half.safetensors"]


def test_a_failed_save_leaves_the_old_file(layouts, tmp_path):
    network = layouts.tiny_generator()
    save_generator(tmp_path / "a.safetensors", network)
    before = (tmp_path / "a.safetensors").read_bytes()
    network.synthesis.b4.const.data[:] = 1e6
    with pytest.raises(ValueError, match="float16"):
        save_generator(tmp_path / "a.safetensors", network, dtype=torch.float16)
    with pytest.raises(ValueError, match="JSON"):
        save_generator(tmp_path / "a.safetensors", network, metadata={"psi": float("nan")})
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_sources_are_found_by_path_and_by_name(layouts, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    monkeypatch.setattr(zoo, "DEFAULT", "stylegan2-b")
    with pytest.raises(CheckpointError, match="no generator is bundled"):
        load_generator(device="cpu")
    network = layouts.tiny_generator()
    for name in ("dcgan-fer2013", "stylegan2-b", "stylegan2-a"):
        save_generator(tmp_path / f"{name}.safetensors", network)
    assert list(zoo.bundled_generators()) == ["stylegan2-b", "dcgan-fer2013", "stylegan2-a"]
    assert load_generator(device="cpu").name == "stylegan2-b"
    assert load_generator("dcgan-fer2013", device="cpu").source == tmp_path / "dcgan-fer2013.safetensors"
    with pytest.raises(UsageError, match="stylegan2-b, dcgan-fer2013, stylegan2-a"):
        load_generator("stylegan9")
    with pytest.raises(CheckpointError, match="no such file"):
        load_generator(tmp_path / "missing.pkl")
    for device in ("tpu", "mps", "cuda:99"):
        with pytest.raises(UsageError, match="auto"):
            load_generator(device=device)


def test_classes_are_found_by_their_names_in_any_case(layouts):
    generator = Generator(layouts.tiny_generator(c_dim=2), metadata={"classes": ["Happy", "Sad"]})
    assert [generator.find_class(name) for name in ("Happy", "sad", " SAD ", "0", 1)] == [0, 1, 1, 0, 1]
