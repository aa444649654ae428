package podnetwork

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Route says that the pods of a podCIDR are reached through their node's address.
type Route struct {
	PodCIDR netip.Prefix
	Via     netip.Addr
}

// Plan is what one node needs so that its pods reach all others and the world.
type Plan struct {
	OwnPodCIDRs []netip.Prefix // pods of this node: their traffic is masqueraded when it leaves the cluster
	AllPodCIDRs []netip.Prefix // pods of the cluster: reached with their own addresses
	Routes      []Route        // to the pods of every other node
}

// MakePlan decides from the Node objects alone. Nodes without podCIDRs or address are left out: an update brings them.
func MakePlan(nodes []*corev1.Node, ownName string) (Plan, error) {
	var plan Plan
	for _, node := range nodes {
		podCIDRs, err := parsePodCIDRs(node)
		if err != nil {
			return Plan{}, err
		}
		plan.AllPodCIDRs = append(plan.AllPodCIDRs, podCIDRs...)
		if node.Name == ownName {
			plan.OwnPodCIDRs = podCIDRs
			continue
		}
		for _, podCIDR := range podCIDRs {
			if via, ok := internalIP(node, podCIDR.Addr().Is6()); ok {
				plan.Routes = append(plan.Routes, Route{PodCIDR: podCIDR, Via: via})
			}
		}
	}
	return plan, nil
}

func parsePodCIDRs(node *corev1.Node) ([]netip.Prefix, error) {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	var podCIDRs []netip.Prefix
	for _, text := range texts {
		podCIDR, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("node %s: podCIDR %q: %w", node.Name, text, err)
		}
		podCIDRs = append(podCIDRs, podCIDR.Masked())
	}
	return podCIDRs, nil
}

func internalIP(node *corev1.Node, ipv6 bool) (netip.Addr, bool) {
	for _, address := range node.Status.Addresses {
		if address.Type != corev1.NodeInternalIP {
			continue
		}
		if parsed, err := netip.ParseAddr(address.Address); err == nil && parsed.Is6() == ipv6 {
			return parsed, true
		}
	}
	return netip.Addr{}, false
}
