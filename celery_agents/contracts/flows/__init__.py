"""What flows and streams are asked: payloads and entries as values."""
