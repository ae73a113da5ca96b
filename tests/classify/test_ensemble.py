"""An ensemble says what its members say together, whatever sizes, ranges and label orders they have."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from fergan.classify import Classifier, load_classifier, save_classifier
from fergan.classify.backend import keras
from fergan.classify.ensemble import fit_stack, in_order_of, mean_weights, soft_vote, stacked
from fergan.runtime.errors import DataError, UsageError
from fergan.workflows.cli.main import cli

L = keras.layers
FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
LABELS = ("angry", "happy", "neutral")


def save(folder: Path, name: str, shape: tuple[int, int, int], last: str | None = "softmax", **card: object) -> str:
    keras.utils.set_random_seed(len(name) + shape[0])
    pixels = keras.Input(shape)
    x = L.LayerNormalization(axis=[1, 2, 3])(pixels)
    x = L.GlobalMaxPooling2D()(L.Conv2D(4, 5, strides=4)(x))
    output = L.Dense(3, activation=last)(x)
    given = {"second": [output], "third": {"answer": output}}.get(name, output)  # Keras calls each of them one output
    model = keras.Model(pixels, given, name="same_name")
    path = folder / f"{name}.keras"
    save_classifier(model, path, {"labels": list(LABELS), **card})
    return str(path)


@pytest.fixture
def members(tmp_path: Path) -> list[str]:
    """Our own kind; a large one of logits, whose colours differ in range; a small one that orders labels otherwise."""
    return [
        save(tmp_path, "first", (48, 48, 1)),
        save(tmp_path, "second", (64, 60, 3), None, outputs="logits", input_range="imagenet"),
        save(tmp_path, "third", (32, 32, 1), labels=["neutral", "happy", "angry"], licence="MIT"),
    ]


def opened(paths: list[str]) -> list[Classifier]:
    return [load_classifier(path, "cpu") for path in paths]


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_a_soft_vote_is_the_mean_of_its_members(
    members: list[str], weights: list[float] | None, tmp_path: Path
) -> None:
    classifiers = opened(members)
    save_classifier(soft_vote(classifiers, weights), tmp_path / "all.keras", {"labels": list(LABELS)})
    ensemble = load_classifier(tmp_path / "all.keras", "cpu")
    assert (ensemble.engine, ensemble.input_name, ensemble.output_name) == ("torch", "pixels", "probabilities")
    answers = [in_order_of(LABELS, classifier, classifier.predict(FACES)) for classifier in classifiers]
    expected = np.average(answers, axis=0, weights=weights)
    assert expected.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(ensemble.predict(FACES), expected, atol=2e-6)
    model = keras.saving.load_model(tmp_path / "all.keras")
    np.testing.assert_allclose(model.predict(FACES[..., None].astype(np.float32), verbose=0), expected, atol=2e-6)


def test_a_stacked_layer_is_logistic_regression_and_its_score_is_honest(members: list[str], tmp_path: Path) -> None:
    classifiers = opened(members)
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [20, 14, 6])
    answers = [in_order_of(LABELS, classifier, classifier.predict(FACES)) for classifier in classifiers]
    stack = fit_stack(answers, labels, LABELS)
    save_classifier(stacked(classifiers, stack), tmp_path / "all.keras", {"labels": list(LABELS)})
    ensemble = load_classifier(tmp_path / "all.keras", "cpu")
    logits = np.concatenate(answers, axis=1) @ stack.kernel + stack.bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert ensemble.engine == "torch"
    np.testing.assert_allclose(ensemble.predict(FACES), expected, atol=1e-5)
    # pure noise: a layer over 60 numbers can learn its own faces by heart, but not those it has not seen
    noise = rng.dirichlet(np.full(3, 0.05), (20, 150)).astype(np.float32)
    random = rng.integers(0, 3, 150)
    learned = fit_stack(list(noise), random, LABELS)
    by_heart = (np.concatenate(noise, axis=1) @ learned.kernel + learned.bias).argmax(axis=1)
    assert (by_heart == random).mean() > 0.55
    assert (learned.cross_fitted.argmax(axis=1) == random).mean() < 0.45
    with pytest.raises(DataError, match="only 0 faces of neutral"):
        fit_stack(answers, labels % 2, LABELS)
    two = fit_stack([answer[:, :2] for answer in answers], labels % 2, LABELS[:2])
    logits = np.concatenate([answer[:, :2] for answer in answers], axis=1) @ two.kernel + two.bias
    assert np.array_equal(logits.argmax(axis=1) == 1, logits[:, 1] > 0)


def test_members_must_fit(members: list[str], tmp_path: Path) -> None:
    other = save(tmp_path, "other", (48, 48, 1), labels=["angry", "happy", "sad"])
    with pytest.raises(
        DataError, match="other.keras: has the labels angry,happy,sad, the first member angry,happy,neut"
    ):
        soft_vote(opened([members[0], other]))
    with pytest.raises(UsageError, match="two or more"):
        soft_vote(opened(members[:1]))
    with pytest.raises(UsageError, match="--shares must be 2 numbers"):
        soft_vote(opened(members[:2]), [1.0, -1.0])
    (classifier,) = opened(members[:1])
    classifier.engine = "onnxruntime"
    with pytest.raises(DataError, match="must be Keras files"):
        soft_vote([classifier, classifier])


def test_a_mean_of_weights_is_one_network_and_only_of_one_kind(members: list[str], tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    trained = []
    for number, name in enumerate(("a", "b")):
        network = keras.saving.load_model(members[0])
        network.set_weights(
            [w + number + np.random.default_rng(number).normal(size=w.shape) for w in network.get_weights()]
        )
        save_classifier(network, tmp_path / f"{name}.keras", {"labels": list(LABELS)})
        trained.append(network.get_weights())
    given = [str(tmp_path / "a.keras"), str(tmp_path / "b.keras")]
    mean = mean_weights(opened(given), [1, 3])
    for found, first, second in zip(mean.get_weights(), *trained, strict=True):
        np.testing.assert_allclose(found, 0.25 * first + 0.75 * second, atol=1e-6)
    assert len(mean.layers) == len(network.layers)
    for other in (members[1], save(tmp_path, "order", (48, 48, 1), labels=list(LABELS[::-1]))):
        with pytest.raises(DataError, match="is not the network of .*a.keras"):
            mean_weights(opened([given[0], other]))

    data, out = tmp_path / "faces.csv", tmp_path / "soup.keras"
    table = {"emotion": [0, 3, 6, 3] * 10, "pixels": [" ".join(map(str, face.ravel())) for face in FACES]}
    pd.DataFrame({**table, "Usage": ["Training"] * 24 + ["PublicTest"] * 16}).to_csv(data, index=False)
    options = ["--average-weights", "--shares", "1,3", "--data", str(data), "--out", str(out)]
    arguments = ["ensemble", *[text for path in given for text in ("--model", path)], *options]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    soup = load_classifier(out, "cpu")
    answers = mean.predict(FACES[24:, ..., None].astype(np.float32), verbose=0)
    np.testing.assert_allclose(soup.predict(FACES[24:]), answers, atol=2e-6)
    with np.load(out.with_suffix(".validation.npz")) as stored:
        np.testing.assert_allclose(stored["probabilities"], answers, atol=2e-6)
    with np.load(out.with_suffix(".features.npz")) as stored:
        features = soup.features(FACES[:24])
        codes = np.array([0, 1, 2, 1] * 6)
        expected = [features[codes == code].mean(axis=0) for code in range(3)]
        np.testing.assert_allclose(stored["means"], expected, atol=1e-5)
        assert len(stored["validation_distances"]) == 16


def test_what_is_known_of_an_older_model_of_the_name_goes(tmp_path: Path) -> None:
    stale = [tmp_path / f"both{ending}" for ending in (".validation.npz", ".features.npz")]
    for path in stale:
        path.write_bytes(b"of another model")
    save(tmp_path, "both", (48, 48, 1))
    assert not any(path.exists() for path in stale)
    assert load_classifier(tmp_path / "both.keras", "cpu").validation is None


def test_the_command(members: list[str], tmp_path: Path) -> None:
    data = tmp_path / "faces.csv"
    emotions = [0, 3, 6] * 6 + [1, 2]
    table = {"emotion": emotions, "pixels": [" ".join(map(str, face.ravel())) for face in FACES[:20]]}
    pd.DataFrame({**table, "Usage": "PublicTest"}).to_csv(data, index=False)
    given = [text for member in members for text in ("--model", member)]
    runner = CliRunner()
    for extra in ([], ["--stack"], ["--shares", "1,1,2"]):
        out = tmp_path / f"all{len(extra)}.keras"
        result = runner.invoke(cli, ["ensemble", *given, "--data", str(data), "--out", str(out), *extra])
        assert result.exit_code == 0, (result.output, result.exception)
        card = json.loads(out.with_suffix(".json").read_text())
        assert [member["name"] for member in card["ensemble"]["members"]] == ["first", "second", "third"]
        assert card["ensemble"]["members"][0]["sha256"] == load_classifier(members[0], "cpu").sha256
        assert card["licence"] == "MIT"
        ensemble = load_classifier(out, "cpu")
        with np.load(out.with_suffix(".validation.npz")) as stored:
            assert stored["labels"].tolist() == [0, 1, 2] * 6  # of the labels that the members have
            assert card["scores"]["n"] == 18
            answers = ensemble.predict(FACES[:18])
            assert np.allclose(stored["probabilities"], answers, atol=1e-5) == (extra != ["--stack"])
    for wrong, reason in [
        (["--stack", "--out", "a.keras"], "name them with --data"),
        (["--out", "a.h5"], "write for example a.keras"),
        (["--shares", "1,x", "--out", "a.keras"], "one number a member"),
    ]:
        assert reason in str(runner.invoke(cli, ["ensemble", *given, *wrong]).exception)
