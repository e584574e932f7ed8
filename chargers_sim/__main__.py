"""`python -m chargers_sim`."""

from chargers_sim.cli import main

main()
