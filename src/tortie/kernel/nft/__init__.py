"""nftables by nfnetlink, in atomic batches.

In reading order: objects (frozen values that renderers produce), encode (values to netlink), decode (netlink to values),
table (the driver: desired, actual, one transaction), monitor (who else changed our table).
"""
