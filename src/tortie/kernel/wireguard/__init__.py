"""WireGuard devices, of the kernel or of wireguard-go: keys, peers, networks.

In reading order: keys (X25519, and a private key that nobody prints), key_files (keys on disk), device (values, and what both
back ends promise), generic (the kernel's own, over generic netlink), uapi (text over wireguard-go's socket), receive_buffers
(room in those of another process), userspace (the life of a wireguard-go), devices (whichever of the two this machine has).
"""
