"""The embedded datastore: one sqlite file, for the processes of one machine.

In reading order: schema (the file: creating, migrating, opening), store (one transaction each, on the owner thread),
wakeup (who tells watchers of a commit), client (the protocol's face: asyncio, retries, watches).
"""
