"""Tables, migrations, connections, transactions and locks."""
