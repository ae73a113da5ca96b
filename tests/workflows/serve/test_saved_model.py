"""What ``fergan export`` writes for TensorFlow Serving, served by ``fergan serve``."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fergan.classify.classifier import load_classifier
from fergan.classify.export.export import export_classifier
from PIL import Image


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_an_exported_model(serve: Callable[..., Any], faces: np.ndarray, tmp_path: Path) -> None:
    classifier = load_classifier("fernet", "cpu")
    export_classifier(classifier, "savedmodel", tmp_path)
    buffer = io.BytesIO()
    Image.fromarray(faces[0]).save(buffer, "PNG")
    files = [{"b64": base64.b64encode(buffer.getvalue()).decode()}]
    with serve(models={"fer": str(tmp_path)}) as client:
        metadata = client.get("/v1/models/fer/metadata").json()["metadata"]["signature_def"]["signature_def"]
        assert metadata["serving_default"]["inputs"].keys() == {"pixels"}
        answer = client.post("/v1/models/fer:predict", json={"instances": faces[..., None].tolist()})
        # another engine's arithmetic: the last bits differ
        np.testing.assert_allclose(answer.json()["predictions"], classifier.predict(faces), atol=1e-5)
        body = {"signature_name": "serving_bytes", "instances": files}
        answer = client.post("/v1/models/fer:predict", json=body)
        np.testing.assert_allclose(answer.json()["predictions"], classifier.predict(faces[:1]), atol=1e-5)
        answer = client.post("/v1/models/fer:predict", json={**body, "instances": [{"b64": "aGk="}]})
        assert answer.status_code == 400
        assert answer.json().keys() == {"error"}
