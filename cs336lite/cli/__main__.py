"""``python -m cs336lite.cli`` is ``cs336lite``."""

from cs336lite.cli import main

if __name__ == "__main__":
    main()
