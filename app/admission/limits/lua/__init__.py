"""The Lua scripts of limits: each is one step of Redis, so all is checked before any is written.

Keys are made of names of limits here, so these do not run on Redis Cluster.
"""
