package podnetwork

import (
	"context"
	"net/netip"

	"sigs.k8s.io/knftables"
)

const table = "kindasync-podnetwork"

// SyncMasquerade gives what pods of this node send out of the cluster the node's own address; between pods addresses stay as they are.
func SyncMasquerade(ctx context.Context, plan Plan) error {
	for _, family := range []knftables.Family{knftables.IPv4Family, knftables.IPv6Family} {
		own, all := ofFamily(plan.OwnPodCIDRs, family), ofFamily(plan.AllPodCIDRs, family)
		if len(own) == 0 {
			continue
		}
		nft, err := knftables.New(family, table)
		if err != nil {
			return err
		}
		if err := nft.Run(ctx, masqueradeRules(nft, family, own, all)); err != nil {
			return err
		}
	}
	return nil
}

// masqueradeRules is one transaction: the table is at all times either the old or the new one.
func masqueradeRules(nft knftables.Interface, family knftables.Family, own, all []netip.Prefix) *knftables.Transaction {
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("pods of this node leave the cluster with its address")})
	tx.Flush(&knftables.Table{})
	ip, kind := "ip", "ipv4_addr"
	if family == knftables.IPv6Family {
		ip, kind = "ip6", "ipv6_addr"
	}
	for name, prefixes := range map[string][]netip.Prefix{"own-pods": own, "all-pods": all} {
		tx.Add(&knftables.Set{Name: name, Type: kind, Flags: []knftables.SetFlag{knftables.IntervalFlag}})
		tx.Flush(&knftables.Set{Name: name})
		for _, prefix := range prefixes {
			tx.Add(&knftables.Element{Set: name, Key: []string{prefix.String()}})
		}
	}
	tx.Add(&knftables.Chain{
		Name: "postrouting", Type: knftables.PtrTo(knftables.NATType),
		Hook: knftables.PtrTo(knftables.PostroutingHook), Priority: knftables.PtrTo(knftables.SNATPriority),
	})
	tx.Add(&knftables.Rule{
		Chain: "postrouting",
		Rule:  knftables.Concat(ip, "saddr @own-pods", ip, "daddr != @all-pods", "fib daddr type != local masquerade"),
	})
	return tx
}

func ofFamily(prefixes []netip.Prefix, family knftables.Family) []netip.Prefix {
	var result []netip.Prefix
	for _, prefix := range prefixes {
		if prefix.Addr().Is6() == (family == knftables.IPv6Family) {
			result = append(result, prefix)
		}
	}
	return result
}
