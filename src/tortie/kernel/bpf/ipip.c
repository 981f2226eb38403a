// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// IP in IP (RFC 2003) for kernels without the ipip module: two programs around a device named tunl0 that does nothing itself.
//
//     pod ─► route into tunl0 ─► encapsulate ─► the uplink that the node's own routes say ─► the other node
//     the uplink ─► decapsulate ─► arrives on tunl0 ─► routing, policy ─► pod
//
// Whatever is not certain is dropped. Maps are made by who loads this; a reference to one is a symbol that is not defined here.
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define be16(number) __builtin_bswap16(number)  // the machines that this is built for are little-endian

#define LONGEST 0xffff  // what a header can say

#define ECN_MASK 3
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*load_bytes)(void *skb, __u32 offset, void *to, __u32 size) = (void *)BPF_FUNC_skb_load_bytes;
static long (*store_bytes)(void *skb, __u32 offset, const void *from, __u32 size, __u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*adjust_room)(void *skb, __s32 difference, __u32 mode, __u64 flags) = (void *)BPF_FUNC_skb_adjust_room;
static long (*replace_sum)(void *skb, __u32 offset, __u64 from, __u64 to, __u64 size) = (void *)BPF_FUNC_l3_csum_replace;
static long (*find_route)(void *skb, struct bpf_fib_lookup *question, int size, __u32 flags) = (void *)BPF_FUNC_fib_lookup;
static long (*redirect_neigh)(__u32 device, void *hop, int size, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;
static long (*redirect)(__u32 device, __u64 flags) = (void *)BPF_FUNC_redirect;
static __u32 (*random)(void) = (void *)BPF_FUNC_get_prandom_u32;

// Whose is an address: the longest prefix that has it, and its node. Every node stands in it as itself, this one too.
// EXTERNAL: of machines outside of the cluster that may tunnel to us, and that nothing is tunnelled to.
#define EXTERNAL 0xffffffff
struct owner_key {
	__u32 bits;
	__be32 address;
};
extern char owners;

// What this node is: one entry.
struct own_end {
	__be32 address;
	__u32 device;  // tunl0
	__u8 mac[ETH_ALEN];  // of tunl0
	__u8 pad[2];
};
extern char own;

INLINE __be32 owner_of(__be32 address)
{
	struct owner_key key = { .bits = 32, .address = address };
	__be32 *node = map_lookup(&owners, &key);

	return node ? *node : 0;
}

INLINE struct own_end *own_end(void)
{
	__u32 first = 0;

	return map_lookup(&own, &first);
}

typedef __u16 __attribute__((may_alias)) word;

// Over a header without its sum: the sum. Over one with it: 0 if it is right.
INLINE __u16 header_sum(struct iphdr *header)
{
	word *words = (word *)header;
	__u32 sum = 0;

#pragma unroll
	for (int index = 0; index < (int)sizeof(*header) / 2; index++)
		sum += words[index];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

// What leaves by tunl0: the routes have chosen the tunnel, the map says to whom.
SECTION("tc/encapsulate")
int encapsulate(struct __sk_buff *skb)
{
	struct own_end *end = own_end();
	struct bpf_fib_lookup question = {};
	struct iphdr inner, outer = {};
	__be32 node;

	if (skb->protocol != be16(ETH_P_IP) || !end)
		return TC_ACT_SHOT;
	if (load_bytes(skb, ETH_HLEN, &inner, sizeof(inner)))
		return TC_ACT_SHOT;
	node = owner_of(inner.daddr);
	if (!node || node == EXTERNAL || node == end->address)
		return TC_ACT_SHOT;

	// A super-packet keeps its segments' size: the tunnel's MTU has left room for the header in each.
	if (adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
		return TC_ACT_SHOT;
	outer.version = 4;
	outer.ihl = sizeof(outer) / 4;
	outer.tos = inner.tos & ECN_MASK;  // RFC 6040, normal mode; as with the kernel's tunl0, the rest stays inside
	if (skb->len - ETH_HLEN <= LONGEST)  // else 0: so the kernel has it in super-packets that are too long for the field
		outer.tot_len = be16((__u16)(skb->len - ETH_HLEN));
	// Who receives this cannot put fragments together, and a router that needs them would not say so. What may be taken apart
	// was taken apart before, to the size of the route into the tunnel.
	outer.frag_off = be16(0x4000);
	outer.id = (__u16)random();
	outer.ttl = inner.ttl;
	outer.protocol = IPPROTO_IPIP;
	outer.saddr = end->address;
	outer.daddr = node;
	outer.check = header_sum(&outer);
	if (store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0))
		return TC_ACT_SHOT;

	// The uplink and the next hop are the kernel's to say, for every packet: they may change without anybody telling us.
	question.family = 2;  // AF_INET
	question.ifindex = skb->ifindex;
	question.ipv4_src = outer.saddr;
	question.ipv4_dst = outer.daddr;
	switch (find_route(skb, &question, sizeof(question), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:  // told of super-packets too; what is really too large is told by the uplink
		break;
	default:
		return TC_ACT_SHOT;
	}
	if (question.ifindex == skb->ifindex)
		return TC_ACT_SHOT;
	return (int)redirect_neigh(question.ifindex, 0, 0, 0);
}

// The table of RFC 6040, section 4.2: what congestion said on the way is told inside. False: drop.
INLINE int take_over_congestion(struct __sk_buff *skb, __u8 outer, __u8 inner)
{
	__u8 seen = outer & ECN_MASK, had = inner & ECN_MASK, now = had;
	const __u32 sum = ETH_HLEN + offsetof(struct iphdr, check), tos = ETH_HLEN + offsetof(struct iphdr, tos);

	if (seen == ECN_CE && !had)
		return 0;
	if (had && (seen == ECN_CE || (seen == ECN_ECT1 && had == ECN_ECT0)))
		now = seen;
	if (now == had || had == ECN_CE)
		return 1;
	now = (inner & ~ECN_MASK) | now;
	return !replace_sum(skb, sum, be16(inner), be16(now), 2) && !store_bytes(skb, tos, &now, sizeof(now), 0);
}

// True if header and lengths are whole (RFC 1122, 3.2.1.1). What follows the packet (Ethernet fills frames up to 60 bytes) is
// cut off where tunl0's packets are received, by the inner length: hence nothing inside may be longer than the outer one says.
INLINE int is_whole(struct __sk_buff *skb, struct iphdr *outer, struct iphdr *inner)
{
	__u32 there = skb->len - ETH_HLEN, length = be16(outer->tot_len);

	if (!length && skb->gso_size && there > LONGEST)
		length = there;
	if (header_sum(outer) || length > there || length < 2 * sizeof(*outer))
		return 0;
	return be16(inner->tot_len) <= length - sizeof(*outer);
}

// What arrives on an uplink. All but IP in IP to this node goes on untouched.
SECTION("tc/decapsulate")
int decapsulate(struct __sk_buff *skb)
{
	struct own_end *end = own_end();
	struct iphdr outer, inner;
	__be32 sender, origin;

	if (skb->protocol != be16(ETH_P_IP) || skb->pkt_type != 0 || !end)  // 0: PACKET_HOST
		return TC_ACT_UNSPEC;
	if (load_bytes(skb, ETH_HLEN, &outer, sizeof(outer)))
		return TC_ACT_UNSPEC;
	if (outer.protocol != IPPROTO_IPIP || outer.daddr != end->address)
		return TC_ACT_UNSPEC;

	// Fragments cannot be put together here; our programs make none.
	if (outer.version != 4 || outer.ihl != sizeof(outer) / 4 || outer.frag_off & be16(0x3fff))
		return TC_ACT_SHOT;
	sender = owner_of(outer.saddr);
	if ((sender != outer.saddr && sender != EXTERNAL) || sender == end->address)  // only nodes are their own owners
		return TC_ACT_SHOT;
	if (load_bytes(skb, ETH_HLEN + sizeof(outer), &inner, sizeof(inner)) || inner.version != 4)
		return TC_ACT_SHOT;
	if (!is_whole(skb, &outer, &inner))
		return TC_ACT_SHOT;
	// What a node sends may be from its own pods, from itself, or from outside of the cluster; not from another node's.
	origin = owner_of(inner.saddr);
	if (origin && origin != outer.saddr && origin != EXTERNAL)
		return TC_ACT_SHOT;

	if (adjust_room(skb, -(__s32)sizeof(outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	if (!take_over_congestion(skb, outer.tos, inner.tos))
		return TC_ACT_SHOT;
	if (store_bytes(skb, 0, end->mac, ETH_ALEN, 0))  // else tunl0 would take it for somebody else's
		return TC_ACT_SHOT;
	return (int)redirect(end->device, BPF_F_INGRESS);
}

// The kernel lends its route lookup to such programs only; hence the two licences of this file.
char terms[] SECTION("license") = "GPL";
