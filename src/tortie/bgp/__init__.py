"""BGP by BIRD 2: what its configuration says and what its control socket answers. Pure text in both directions.

In reading order: errors, limits (what BIRD cannot be told), route_filters (BGPFilter), filters (which routes go
where), config (`intent.Bgp` to a configuration), control (the socket's
protocol as a machine), status (BIRD's answers as values). The agent owns the process and the socket.
"""
