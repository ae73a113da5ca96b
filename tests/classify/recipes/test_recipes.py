"""Recipes: what the files say is what is built, and what is wrong is said in one line."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from fergan.classify.networks.registry import ARCHITECTURES, build_model, multiply_adds
from fergan.classify.recipes import FOLDER, ModelSettings, load_recipe, recipe_names, summaries
from fergan.classify.recipes.search import search_space
from fergan.runtime.errors import DataError, UsageError
from fergan.workflows.cli.recipes import recipes as command


def size_of(model: ModelSettings, classes: int = 7) -> dict[str, int]:
    """Size of a recipe's network with its head.

    Returns:
        ``parameters`` (with batch normalisation's averages) and ``multiply_adds`` for one face.
    """
    network = build_model(model)
    width = network.output.shape[-1]
    return {
        "parameters": network.count_params() + (width + 1) * classes,
        "multiply_adds": multiply_adds(network) + width * classes,
    }


def test_sizes_in_the_list_are_those_of_the_built_networks() -> None:
    """Also: each recipe builds, for 7 and for 8 classes. Networks that several recipes share are built once."""
    built: dict[str, dict[str, int]] = {}
    sizes = {}
    for name in recipe_names():
        model = dataclasses.replace(load_recipe(name).model, weights="none")
        key = repr(model)
        if key not in built:
            built[key] = size_of(model, classes=7)
            if model.architecture in ("fernet", "plain_cnn", "mini_xception"):
                more = size_of(model, classes=8)
                width = more["multiply_adds"] - built[key]["multiply_adds"]
                assert more["parameters"] - built[key]["parameters"] == width + 1
        sizes[name] = built[key]
    stored = json.loads((FOLDER / "sizes.json").read_text())
    assert stored == sizes, f"sizes.json should hold\n{json.dumps(sizes, indent=2)}"


def test_every_recipe_says_all_that_its_architecture_can_be_told() -> None:
    """Overrides know an option, and its type, from the recipe's file."""
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.title
        assert recipe.notes
        options = set(inspect.signature(ARCHITECTURES[recipe.model.architecture]).parameters) - {"size", "pretrained"}
        options -= {"name", "scaling"}  # of keras.applications, bound already
        assert set(recipe.model.options) == options, name


def test_the_default_recipe_is_the_bundled_network() -> None:
    card = json.loads((FOLDER.parent / "weights" / "fernet.json").read_text())
    training = json.loads(json.dumps(dataclasses.asdict(load_recipe("fernet").training)))
    augmentation = card["settings"].pop("augmentation")
    assert {key: training[key] for key in card["settings"]} == card["settings"]
    assert {key: training["augmentation"][key] for key in augmentation} == augmentation
    (listed,) = [one for one in summaries() if one.name == "fernet"]
    scores = [score for score in listed.scores if score.get("of") == "the bundled weights"]
    (single,) = [score["accuracy"] for score in scores if score["views"] == "single"]
    assert round(single, 4) == card["scores"]["accuracy"]


def test_overrides_reach_every_table() -> None:
    recipe = load_recipe(
        "fernet",
        ["lr=0.01", "bs=64", "augmentation.mixup=0.2", "model.widths=[48,96,160,256]", "zoom=0.3", "stem=24", "seed=1"],
    )
    assert (recipe.training.learning_rate, recipe.training.batch_size, recipe.training.seed) == (0.01, 64, 1)
    assert (recipe.training.augmentation.mixup, recipe.training.augmentation.zoom) == (0.2, 0.3)
    assert recipe.model.options["widths"] == [48, 96, 160, 256]
    assert recipe.model.options["stem"] == 24
    assert load_recipe("vgg16", ["weights=none", "training.epochs=3"]).model.weights == "none"
    assert load_recipe("resnet50", ["freeze_first=10", "train_last=0"]).model.freeze_first == 10


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "did you mean learning_rate"),
        ("mixupp=1", "did you mean augmentation.mixup"),
        ("model.width=[1]", "did you mean model.widths"),
        ("qqqqqq=1", "known are: .*epochs"),
        ("lr", "write KEY=VALUE"),
        ("lr=fast", "learning_rate must be a finite number"),
        ("lr=nan", "learning_rate must be a finite number"),
        ("epochs=1.5", "epochs must be a whole number"),
        (f"epochs=1{'0' * 400}", "epochs must be a whole number"),
        ("epochs=inf", "epochs must be a whole number"),
        ("epochs=true", "epochs must be a whole number"),
        ("model.widths=3", "model.widths must be a list"),
        ("model.widths=[1.5]", "model.widths must be a whole number"),
        ("optimizer=adem", "optimizer"),
        ("dropout=-1", "dropout"),
        ("size=4", "size must be 16..1024"),
        ("freeze_matching=(", "regular expression"),
        ("model.dense=[0]", "widths of 1 or more"),
    ],
)
def test_overrides_that_cannot_be(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("fernet", [override])


def test_a_search_needs_a_range_that_ends() -> None:
    with pytest.raises(UsageError, match="both finite"):
        search_space(load_recipe("fernet"), ["lr=0.1:inf"])


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    text = (FOLDER / "fernet.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("stem = 16", "stem = 8"))
    recipe = load_recipe(path, ["stem=4"])
    assert (recipe.name, recipe.model.options["stem"]) == ("mine", 4)
    for wrong, message in (
        (text + "\nspeed = 3\n", "augmentation.speed"),
        (text.replace("epochs = 36", "epochs = 0"), "mine.toml: epochs"),
        (text.replace("[model]", "[modle]"), "modle"),
        (text.replace('architecture = "fernet"', ""), "architecture is missing"),
        (text[: text.index("[training]")].replace("[model]", "training = 3\n[model]"), "training must be a table"),
        ("title = ", "is not TOML"),
        ("title = 3", "title is missing or not a string"),
    ):
        path.write_text(wrong)
        with pytest.raises(DataError, match=message):
            load_recipe(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_recipe(tmp_path / "other.toml")
    with pytest.raises(UsageError, match="did you mean mobilenetv2"):
        load_recipe("mobilenet")


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "child.toml").write_text('extends = "fernet"\ntitle = "mine"\n[training]\nepochs = 3\n')
    (tmp_path / "grandchild.toml").write_text('extends = "child.toml"\n[training.augmentation]\nzoom = 0.4\n')
    base, found = load_recipe("fernet"), load_recipe(tmp_path / "grandchild.toml", ["lr=0.5"])
    assert (found.name, found.title, found.model) == ("grandchild", "mine", base.model)
    augmentation = dataclasses.replace(base.training.augmentation, zoom=0.4)
    assert found.training == dataclasses.replace(base.training, epochs=3, learning_rate=0.5, augmentation=augmentation)
    for text, message in (
        ('extends = "grandchild.toml"', "extends itself"),
        ('extends = "fernett"', "child.toml: extends 'fernett', but no recipe .* did you mean fernet"),
        ('extends = "gone.toml"', "gone.toml: cannot be read"),
        ("extends = 3", "must be a recipe's name"),
    ):
        (tmp_path / "child.toml").write_text(text)
        with pytest.raises(DataError, match=message):
            load_recipe(tmp_path / "grandchild.toml")


def test_what_keras_or_the_settings_refuse() -> None:
    for settings, message in (
        (ModelSettings("vgg61"), "known are: fernet"),
        (ModelSettings("fernet", options={"breadth": 3}), "breadth"),
        (ModelSettings("fernet", options={"widths": [8], "depths": [1, 1]}), "fernet cannot be built"),
        (ModelSettings("inceptionv3", size=48), "inceptionv3 cannot be built"),
        (ModelSettings("fernet", weights="imagenet"), "no ImageNet weights"),
    ):
        with pytest.raises(UsageError, match=message):
            build_model(settings)
    with pytest.raises(UsageError, match="exclude each other"):
        ModelSettings("vgg16", freeze_first=1, train_last=1)


def test_the_command_lists_and_shows_without_keras() -> None:
    listed = CliRunner().invoke(command, ["--format", "json"])
    assert {one["name"] for one in json.loads(listed.output)} == set(recipe_names())
    assert all(one["parameters"] and one["multiply_adds"] for one in json.loads(listed.output))
    table = CliRunner().invoke(command, []).output
    assert "1.61 M" in table
    assert "68.5 % PublicTest" in table
    assert CliRunner().invoke(command, ["cnn11"]).output == (FOLDER / "cnn11.toml").read_text()
    program = (
        "import sys\n"
        "from fergan.workflows.cli.recipes import recipes\n"
        "recipes([], standalone_mode=False)\n"
        "sys.exit(str({'keras', 'torch', 'pandas'} & set(sys.modules)) if 'torch' in sys.modules else 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
