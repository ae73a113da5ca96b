"""``python -m fergan``: the same as the ``fergan`` command."""

from .workflows.cli.main import main

if __name__ == "__main__":
    main()
