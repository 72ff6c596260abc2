"""Teams of other frameworks whose workers are killed, beside DBOS: ``python -m bench.frameworks``."""
