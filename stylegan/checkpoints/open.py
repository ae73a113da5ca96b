"""Open a checkpoint of any supported format, chosen by its content and not by its name."""

from pathlib import Path
from typing import Any, Protocol

from . import native, rosinality, stylegan2_ada, tensorflow
from .checkpoint import Checkpoint, Networks, naming, skeleton
from .contents import Content, read_content
from .errors import CheckpointError
from .restricted_pickle import brief


class Format(Protocol):
    """A module that reads one format.

    Attributes:
        NAME: of the format, as ``fergan inspect`` shows it.
        FILES: the files of this format in a few words, for the list of what fergan opens.
        LICENCE: a notice on networks that come in such files; None where there is nothing to say.
    """

    NAME: str
    FILES: str
    LICENCE: str | None

    def recognise(self, content: Content) -> bool:
        """Whether a file is of this format; it may still be damaged or hold no generator."""

    def read(self, content: Content) -> Networks:
        """The networks in a file of this format.

        Raises:
            CheckpointError: there is no generator in it that fergan can draw with.
        """


FORMATS: tuple[Format, ...] = (stylegan2_ada, tensorflow, rosinality, native)
"""The formats; the first one that recognises a file reads it."""

KNOWN = f"fergan opens generators of {', '.join(form.FILES for form in FORMATS)}"

# What other torch files hold, by a key of their dictionary.
OTHER_PROGRAMS = {
    "GAN": "a checkpoint of lucidrains/stylegan2-pytorch, whose network is another one under the same name and cannot "
    "be converted",
    "generator": "a checkpoint of genforce or a program like it, which fergan does not read",
    "generator_smooth": "a checkpoint of genforce or a program like it, which fergan does not read",
}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Open a file, find out its format, and check that there is a generator in it that fergan can draw with.

    Nothing of the file is executed, whatever it contains. The networks are built when they are asked for.

    Args:
        path: of any supported format; its name does not matter.

    Raises:
        CheckpointError: the file does not exist or cannot be used; the message says why and what to do.
    """
    path = Path(path)
    with naming(path):
        content = read_content(path)
        form = _format_of(content)
        found = form.read(content)
        return Checkpoint(
            path=path,
            sha256=content.sha256,
            size=content.size,
            format=form.NAME,
            architecture=found.architecture,
            stored=found.generator,
            stored_discriminator=found.discriminator,
            metadata=found.metadata,
            licence_notice=found.metadata.get("licence") or form.LICENCE,
        )


def _format_of(content: Content) -> Format:
    for form in FORMATS:
        if form.recognise(content):
            return form
    root = content.root
    if content.container == "unknown":
        raise CheckpointError(f"of no kind that fergan knows; {KNOWN}")
    if content.container == "torch" and type(root) is dict:
        for key, what in OTHER_PROGRAMS.items():
            if key in root:
                raise CheckpointError(f"{what}; {KNOWN}")
    what = "a torch file" if content.container == "torch" else "a pickle"
    raise CheckpointError(f"{what} of {brief(root)}, and no generator in it that fergan knows; {KNOWN}")


def describe(path: str | Path) -> dict[str, Any]:
    """Describe a checkpoint as ``fergan inspect`` does, in JSON values.

    Keys: ``path``, ``size``, ``sha256``, ``format``, ``architecture``, ``resolution``, ``channels`` (of the image),
    ``classes``, ``parameters`` (trained numbers), ``tensors``, ``config``, ``discriminator`` (whether there is one),
    ``metadata`` (with ``training_set`` where known) and ``licence_notice`` (or None).

    Raises:
        CheckpointError: as :func:`read_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    with naming(checkpoint.path):
        network = skeleton(checkpoint.stored.factory, config)
    return {
        "path": str(checkpoint.path),
        "size": checkpoint.size,
        "sha256": checkpoint.sha256,
        "format": checkpoint.format,
        "architecture": checkpoint.architecture,
        "resolution": config.img_resolution,
        "channels": config.img_channels,
        "classes": getattr(config, "c_dim", 0),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "tensors": len(checkpoint.stored.tensors),
        "config": native.config_to_json(config),
        "discriminator": checkpoint.stored_discriminator is not None,
        "metadata": checkpoint.metadata,
        "licence_notice": checkpoint.licence_notice,
    }


def convert(path: str | Path, out: str | Path) -> None:
    """Write the generator of any checkpoint in fergan's own format: smaller, and its weights the same to the bit.

    ``out``, usually ``NAME.safetensors``, is replaced in one step.

    Raises:
        CheckpointError: as :func:`read_checkpoint`.
        DataError: ``out`` cannot be written.
    """
    checkpoint = read_checkpoint(path)
    metadata = dict(checkpoint.metadata)
    if checkpoint.format != native.NAME:
        metadata["converted_from"] = {"format": checkpoint.format, "sha256": checkpoint.sha256}
        metadata.setdefault("licence", checkpoint.licence_notice)
    native.save_generator(out, checkpoint.generator, metadata)
