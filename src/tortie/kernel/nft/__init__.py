"""nftables by nfnetlink, in atomic batches.

In reading order: objects (frozen values that renderers produce), table (the driver: wanted, known, one transaction), state
(what differs, and the transaction that ends it), intervals (disjoint cover of overlapping prefixes), encode (rules to
expressions), expressions (one by one), elements (sets and members), batch (the transaction's bytes), decode and read (the
kernel's table as values), monitor (who else changed our table), uapi (the kernel's numbers).
"""
