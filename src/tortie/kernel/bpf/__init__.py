"""Packets that programs of ours handle in the kernel.

In reading order: ipip.c (the programs), build (clang makes an object file of them), elf (what is in it), syscalls (bpf(2)),
filters and tcx (a program in the way of a device's packets, by clsact and by TCX), hooks (whichever of them can be had),
path_errors (what the network says of packets that are too large), tunnel (IPIP carried by all of it).
"""
