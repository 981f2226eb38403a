"""Packets that programs of ours handle in the kernel.

In reading order: ipip.c (the programs), build (clang makes an object file of them), elf (what is in it), syscalls (bpf(2)),
filters (a program in the way of a device's packets), tunnel (IPIP carried by all of it).
"""
