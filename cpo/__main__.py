"""`python -m cpo`."""

from cpo.cli import main

if __name__ == "__main__":
    main()
