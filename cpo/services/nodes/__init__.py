"""Several nodes: who is alive, who leads, who is in charge of which station (decision 0012)."""
