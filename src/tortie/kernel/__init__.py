"""The only code that talks to Linux. Each driver says how a process with no memory recognises what is ours.

In reading order: netlink (framing, requests, dumps, notifications), netns, sysctl, link, route, nft/ (tables).
"""
