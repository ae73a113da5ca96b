"""The page of a data audit."""

import numpy as np
from fergan.data.audit.audit import audit
from fergan.data.face_set import FaceSet
from fergan.reports.pages.data_audit import build_page


def test_each_picture_of_a_pair_is_told_by_its_own_name_and_label() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48), dtype=np.uint8)
    images[1] = images[0]
    usage, names = np.array(["Training", "PublicTest"]), np.array(["a", "b"])
    faces = FaceSet(images, np.array([0, 1]), usage, ("angry", "happy"), names)
    page = build_page(faces, audit(faces), "faces")
    assert 'aria-label="a: angry"' in page and 'aria-label="b: happy"' in page
