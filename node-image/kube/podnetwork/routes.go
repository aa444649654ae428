package podnetwork

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
)

// routeProtocol marks our routes in the kernel's table, so that only they are ever removed. (iproute2's rt_protos names no owner for it.)
const routeProtocol = netlink.RouteProtocol(107)

// SyncRoutes makes the kernel's routes of our protocol exactly the wanted ones.
func SyncRoutes(wanted []Route) error {
	have, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("cannot list routes: %w", err)
	}
	keep := map[netip.Prefix]bool{}
	var failures []error
	for _, route := range wanted {
		keep[route.PodCIDR] = true
		if err := netlink.RouteReplace(kernelRoute(route)); err != nil {
			failures = append(failures, fmt.Errorf("cannot route %s via %s: %w", route.PodCIDR, route.Via, err))
		}
	}
	for _, route := range have {
		if destination, ok := prefixOf(route.Dst); ok && !keep[destination] {
			if err := netlink.RouteDel(&route); err != nil && !errors.Is(err, syscall.ESRCH) {
				failures = append(failures, fmt.Errorf("cannot remove the route to %s: %w", destination, err))
			}
		}
	}
	return errors.Join(failures...)
}

func kernelRoute(route Route) *netlink.Route {
	return &netlink.Route{
		Dst:      &net.IPNet{IP: route.PodCIDR.Addr().AsSlice(), Mask: net.CIDRMask(route.PodCIDR.Bits(), route.PodCIDR.Addr().BitLen())},
		Gw:       route.Via.AsSlice(),
		Protocol: routeProtocol,
	}
}

func prefixOf(network *net.IPNet) (netip.Prefix, bool) {
	if network == nil {
		return netip.Prefix{}, false
	}
	address, ok := netip.AddrFromSlice(network.IP)
	ones, _ := network.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones), ok
}
