"""The only code that talks to Linux. Each driver says how a process with no memory recognises what is ours.

In reading order: errors, netlink (framing, requests, dumps, notifications), netns, mount, sysctl, forwarding (of a workload's
device), rtnetlink (what links and routes share), link, proxy_neighbours, arp_responder and announce (addresses answered for),
vxlan (its devices), remotes (whom those send to), ethtool (checksum offload), route, route_table (its driver), rule, qdisc
(rate limits), conntrack (connections to be forgotten), nflog (logged packets), nft/ (tables), wireguard/ (devices, keys,
peers), ipip (tunl0), bpf/ (programs of our own).
"""
