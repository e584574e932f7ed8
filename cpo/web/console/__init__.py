"""The console: server-rendered pages over the same handlers as the operator API."""
