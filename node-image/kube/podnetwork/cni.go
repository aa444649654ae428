package podnetwork

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// ConfigPath is the one CNI configuration of a node. The library writes it before the node boots; where it did not
// (a node booted by the kind program), this daemon does.
const ConfigPath = "/etc/cni/net.d/10-kindasync.conflist"

// Conflist is the CNI configuration that gives pods addresses from podCIDRs: a veth pair per pod, routed by the node.
func Conflist(podCIDRs []netip.Prefix) ([]byte, error) {
	type object = map[string]any
	var ranges [][]object
	var routes []object
	for _, cidr := range podCIDRs {
		ranges = append(ranges, []object{{"subnet": cidr.String()}})
		anywhere := "0.0.0.0/0"
		if cidr.Addr().Is6() {
			anywhere = "::/0"
		}
		routes = append(routes, object{"dst": anywhere})
	}
	return json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "kindasync",
		"plugins": []object{
			{
				"type":   "ptp",
				"ipMasq": false, // the daemon masquerades, and only what leaves the cluster
				// Addresses in use are kept on tmpfs: after a restart of the node no pod holds one.
				"ipam": object{"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": ranges, "routes": routes},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
}

// WriteConflist replaces ConfigPath unless it already says the same; a reader never sees half of it.
func WriteConflist(path string, podCIDRs []netip.Prefix) error {
	want, err := Conflist(podCIDRs)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(path); err == nil && sameJSON(have, want) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// containerd reads every file whose name ends in .conflist: the temporary one must not.
	temporary := path + ".new"
	if err := os.WriteFile(temporary, want, 0o644); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("cannot put the CNI configuration in place: %w", err)
	}
	return nil
}

func sameJSON(a, b []byte) bool {
	canonical := func(raw []byte) string {
		var value any
		if json.Unmarshal(raw, &value) != nil {
			return ""
		}
		text, _ := json.Marshal(value)
		return string(text)
	}
	return canonical(a) != "" && canonical(a) == canonical(b)
}
