"""`python -m cli`: the composition root's door."""

from cli.app import main

if __name__ == "__main__":
    main()
