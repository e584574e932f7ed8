"""Finding the node that holds a station, and waking others: one process, or several over NATS."""
