package podnetwork

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/knftables"
)

func node(name string, podCIDRs []string, addresses ...string) *corev1.Node {
	result := &corev1.Node{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: podCIDRs}}
	for _, address := range addresses {
		result.Status.Addresses = append(result.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	return result
}

func prefixes(texts ...string) []netip.Prefix {
	var result []netip.Prefix
	for _, text := range texts {
		result = append(result, netip.MustParsePrefix(text))
	}
	return result
}

func TestPodsOfOtherNodesAreReachedThroughTheirAddressOfTheSameFamily(t *testing.T) {
	plan, err := MakePlan([]*corev1.Node{
		node("a", []string{"10.244.0.0/24", "fd00:10:244::/64"}, "172.18.0.2", "fc00::2"),
		node("b", []string{"10.244.1.0/24", "fd00:10:244:1::/64"}, "172.18.0.3", "fc00::3"),
		node("new", nil, "172.18.0.4"),                             // an update brings them
		node("mute", []string{"10.244.3.0/24"}),                    // the same
		node("half", []string{"fd00:10:244:4::/64"}, "172.18.0.5"), // no address of that family
	}, "a")

	want := Plan{
		OwnPodCIDRs: prefixes("10.244.0.0/24", "fd00:10:244::/64"),
		AllPodCIDRs: prefixes("10.244.0.0/24", "fd00:10:244::/64", "10.244.1.0/24", "fd00:10:244:1::/64", "10.244.3.0/24", "fd00:10:244:4::/64"),
		Routes: []Route{
			{PodCIDR: netip.MustParsePrefix("10.244.1.0/24"), Via: netip.MustParseAddr("172.18.0.3")},
			{PodCIDR: netip.MustParsePrefix("fd00:10:244:1::/64"), Via: netip.MustParseAddr("fc00::3")},
		},
	}
	if err != nil || !reflect.DeepEqual(plan, want) {
		t.Errorf("%v\n%v\n%v", err, plan, want)
	}
}

func TestAPodCIDRThatIsNoneIsAnErrorWithTheNodesName(t *testing.T) {
	_, err := MakePlan([]*corev1.Node{node("b", []string{"10.244.1.0"})}, "a")

	if err == nil || !strings.Contains(err.Error(), "node b") {
		t.Error(err)
	}
}

func TestWhatPodsSendOutOfTheClusterIsMasqueraded(t *testing.T) {
	ctx := context.Background()
	for _, each := range []struct {
		family   knftables.Family
		own, all []string
		rule     string
	}{
		{knftables.IPv4Family, []string{"10.244.0.0/24"}, []string{"10.244.0.0/24", "10.244.1.0/24"}, "ip saddr @own-pods ip daddr != @all-pods"},
		{knftables.IPv6Family, []string{"fd00::/64"}, []string{"fd00::/64", "fd00:0:0:1::/64"}, "ip6 saddr @own-pods ip6 daddr != @all-pods"},
	} {
		nft := knftables.NewFake(each.family, table)
		for _, all := range [][]string{each.all, each.own} { // the other node leaves
			if err := nft.Run(ctx, masqueradeRules(nft, each.family, prefixes(each.own...), prefixes(all...))); err != nil {
				t.Fatal(err)
			}
		}
		rules, _ := nft.ListRules(ctx, "postrouting")
		elements, _ := nft.ListElements(ctx, "set", "all-pods")
		if len(rules) != 1 || !strings.HasPrefix(rules[0].Rule, each.rule) || !strings.HasSuffix(rules[0].Rule, "masquerade") || len(elements) != 1 {
			t.Errorf("%v %v\n%s", rules, elements, nft.Dump())
		}
	}
}

func TestPrefixesOfAFamily(t *testing.T) {
	both := prefixes("10.244.0.0/24", "fd00::/64")

	if got := ofFamily(both, knftables.IPv6Family); !reflect.DeepEqual(got, both[1:]) {
		t.Error(got)
	}
}

func TestAConflistThatSaysTheSameIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.d", "10-kindasync.conflist")
	if err := WriteConflist(path, prefixes("10.244.0.0/24")); err != nil {
		t.Fatal(err)
	}
	first, _ := os.ReadFile(path)
	spaced := append(append([]byte{}, first...), '\n')
	_ = os.WriteFile(path, spaced, 0o644)

	same := WriteConflist(path, prefixes("10.244.0.0/24"))
	kept, _ := os.ReadFile(path)
	other := WriteConflist(path, prefixes("10.244.0.0/24", "fd00::/64"))
	changed, _ := os.ReadFile(path)

	if same != nil || other != nil || string(kept) != string(spaced) {
		t.Errorf("%v %v %s", same, other, kept)
	}
	if !strings.Contains(string(changed), `"fd00::/64"`) || !strings.Contains(string(changed), `"::/0"`) {
		t.Error(string(changed))
	}
}
