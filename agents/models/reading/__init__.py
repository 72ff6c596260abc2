"""Reading what model servers answer: in their own protocol, and nearly in it.

Servers that speak a provider's protocol deviate from it in small things, and the provider itself
does. An answer costs money when it has been given, so it is used wherever its meaning is plain:
what is missing, null, repeated or wrapped is read as what it must mean. What could mean two things
is refused (:class:`~celery_agents.errors.BadAnswerError`), above all where a tool would be run.

``bodies`` makes JSON of bytes, whole or streamed; ``openai``, ``anthropic`` and ``google`` make a
reply of JSON, by one reader for both.
"""
