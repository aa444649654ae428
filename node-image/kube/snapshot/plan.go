package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// change is one step of a restore: a value to put at a key, or nil to delete it.
type change struct {
	key   string
	value []byte
}

// byNode has UIDs of pods by the nodes they are on; "" is any.
type byNode map[string][]string

func (n byNode) add(pod *object) { n[pod.node()] = append(n[pod.node()], pod.uid()) }

// plan is what has to be done, step by step. What makes pods goes before its pods. Pods are killed, and others come back, at once: of
// one too few a controller would make one, of one too many delete one, and not the one that we would.
type plan struct {
	deletes []change
	kills   []change // pods, deleted with no time to end: that is what their kubelets go by
	puts    []change // owners before what they own
	after   []change // what takes the place of a killed pod
	killed  byNode   // their containers have to end
	returns byNode   // pods that come back
}

// isTransient tells of keys that are the API servers' own, and not objects.
func isTransient(key string) bool {
	return strings.HasPrefix(key, "masterleases/") || strings.HasPrefix(key, "peerserverleases/")
}

// isAlive tells of objects that are renewed all the time, or pass by themselves: what is there stays as it is.
func isAlive(key string) bool {
	return strings.HasPrefix(key, "leases/") || strings.HasPrefix(key, "events/")
}

// makePlan decides how the objects that are there become those of a snapshot. Objects whose keys are in `settled` were put back
// before; how they have become since is their controllers' work.
func makePlan(current, saved map[string][]byte, settled map[string]bool) (plan, error) {
	result := plan{killed: byNode{}, returns: byNode{}}
	is, was := decodeAll(current), decodeAll(saved)
	rewritten, passed := map[string]bool{}, passed(is, was)
	for _, key := range sorted(was) {
		before, now := was[key], is[key]
		if isAlive(key) || passed[key] || now != nil && settled[key] {
			continue
		}
		if now != nil && now.is(before) {
			value, err := now.restored(before)
			if err != nil {
				return plan{}, fmt.Errorf("%s: %w", key, err)
			}
			if value != nil {
				rewritten[before.uid()] = true
				result.puts = append(result.puts, change{key, value})
			}
			continue
		}
		puts := &result.puts
		if now != nil { // another of that name, or one that is being deleted
			if err := result.remove(now); err != nil {
				return plan{}, fmt.Errorf("%s: %w", key, err)
			}
			puts = &result.after
		}
		rewritten[before.uid()] = true
		for _, owner := range before.owners() { // they will have got another one in its place
			rewritten[string(owner.UID)] = true
		}
		if before.isPod() && !before.hasEnded() {
			result.returns.add(before)
		}
		value, err := before.recreated()
		if err != nil {
			return plan{}, fmt.Errorf("%s: %w", key, err)
		}
		*puts = append(*puts, change{key, value})
	}
	family := newFamily(is, was, rewritten)
	for _, key := range sorted(is) {
		if was[key] == nil && !family.belongs(is[key]) {
			if err := result.remove(is[key]); err != nil {
				return plan{}, fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	for _, puts := range [][]change{result.puts, result.after} {
		slices.SortStableFunc(puts, func(a, b change) int { return depth(was[a.key]) - depth(was[b.key]) })
	}
	return result, nil
}

// passed gives the keys of what need not come back: what was about to go and is gone, and with it what it owned, or what was in it.
func passed(is, was map[string]*object) map[string]bool {
	gone := map[string]bool{} // keys and UIDs
	for key, each := range was {
		if is[key] == nil && each.passes() {
			gone[key], gone[each.uid()] = true, true
		}
	}
	result := maps.Clone(gone)
	for key, each := range was {
		if is[key] == nil && each.content != nil {
			owned := slices.ContainsFunc(each.owners(), func(owner metav1.OwnerReference) bool { return gone[string(owner.UID)] })
			result[key] = result[key] || owned || gone["namespaces/"+each.content.GetNamespace()]
		}
	}
	return result
}

// remove deletes an object, or kills a pod.
func (p *plan) remove(what *object) error {
	if !what.isPod() || !what.builtIn {
		p.deletes = append(p.deletes, change{what.key, nil})
		return nil
	}
	ending := what.content.DeepCopy()
	_ = unstructured.SetNestedField(ending.Object, time.Now().UTC().Format(time.RFC3339), "metadata", "deletionTimestamp") // metadata is a map
	_ = unstructured.SetNestedField(ending.Object, int64(0), "metadata", "deletionGracePeriodSeconds")
	value, err := encode(ending)
	if err != nil {
		return err
	}
	p.kills = append(p.kills, change{what.key, value})
	p.killed.add(what)
	return nil
}

// keys are those of all that is changed, but for events: there are always new ones.
func (p *plan) keys() []string {
	keys := []string{}
	for _, step := range p.steps() {
		for _, each := range step {
			if !strings.HasPrefix(each.key, "events/") && !slices.Contains(keys, each.key) {
				keys = append(keys, each.key)
			}
		}
	}
	return keys
}

// steps are the changes of each, to be carried out one after the other.
func (p *plan) steps() [3][]change {
	killed := make([]change, len(p.kills), len(p.kills)+len(p.after))
	for index, each := range p.kills {
		killed[index] = change{each.key, nil}
	}
	return [3][]change{p.deletes, slices.Concat(p.kills, p.puts), append(killed, p.after...)}
}

// unrested are the pods that come back to nodes whose kubelets do not rest yet; one that was not placed may have been on any.
func (p *plan) unrested(nodes, resting []string) byNode {
	result := byNode{}
	for node, uids := range p.returns {
		if node == "" && len(resting) < len(nodes) || node != "" && !slices.Contains(resting, node) {
			result[node] = uids
		}
	}
	return result
}

// family tells which new objects are only what the cluster's own controllers have made of the objects of a snapshot since: one that was
// taken of a young cluster has a Deployment, and not yet its pods.
type family struct {
	byUID     map[string]*object
	was       map[string]*object
	rewritten map[string]bool // UIDs; what their controllers made of them may be due to what a test did
}

func newFamily(is, was map[string]*object, rewritten map[string]bool) family {
	byUID := make(map[string]*object, len(is))
	for _, each := range is {
		byUID[each.uid()] = each
	}
	return family{byUID: byUID, was: was, rewritten: rewritten}
}

func (f family) belongs(what *object) bool {
	if what == nil || what.content == nil || what.isEnding() || !byComponent(what.content) {
		return false
	}
	namespace, name := what.content.GetNamespace(), what.content.GetName()
	switch {
	case strings.HasPrefix(what.key, "serviceaccounts/"): // of the controllers that have started since; and each namespace's default
		return namespace == "kube-system" || name == "default" && f.was["namespaces/"+namespace] != nil
	case name == "kube-root-ca.crt" && strings.HasPrefix(what.key, "configmaps/"):
		return f.was["namespaces/"+namespace] != nil
	case strings.HasPrefix(what.key, "services/endpoints/"):
		return f.was["services/specs/"+namespace+"/"+name] != nil
	}
	for _, each := range what.owners() {
		owner := f.byUID[string(each.UID)]
		// A kubelet makes mirrors of its static pods, whatever was done to its Node.
		if owner == nil || f.rewritten[owner.uid()] && !owner.isNode() || f.was[owner.key] == nil && !f.belongs(owner) {
			return false
		}
	}
	return len(what.owners()) > 0
}

func sorted(objects map[string]*object) []string { return slices.Sorted(maps.Keys(objects)) }

// depth orders what owns before what it owns.
func depth(what *object) int {
	switch {
	case len(what.owners()) == 0:
		return 0
	case what.isPod():
		return 2
	default:
		return 1
	}
}
