"""Model APIs: their requests, the reading of their answers, prices."""
