"""``python -m fergan``: the same as the ``fergan`` command."""

from fergan.workflows.cli import main

if __name__ == "__main__":
    main()
