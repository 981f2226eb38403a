"""IPAM: which address a workload gets, by compare-and-swap on blocks over any datastore.

An address is safe once its block is written. The handle's count is written before the block when it grows and after it when
it shrinks, so that a process which dies in between leaves a handle that counts too much, never an address that no handle
finds; `release_by_handle` mends it.

In reading order: errors, blocks (a block's arithmetic), pools (which pools, which blocks, in which order), store (reads, and
retries on conflicts), handles, affinities (claims of blocks by nodes), assignment (one family of one request), release,
allocator (the class that callers use), split (one pool becomes several), check (is it all consistent),
repair (mending what check finds), moving (from one pool to another), usage (figures for
people), borrowed (addresses from other nodes' blocks), leaving (what a node that is deleted gives back).
"""
